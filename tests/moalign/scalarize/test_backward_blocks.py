import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from moalign.scalarize.backward_blocks import backward_blocks


def layers(count, width=16):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(width, width) / width) for _ in range(count)]


def residual(x, parameters):
    for p in parameters:
        x = x + torch.tanh(x @ p)
    return x


def found(losses, parameters, **options):
    return [block.parameters for block in backward_blocks(losses, parameters, **options)]


def test_a_chain_is_cut_between_its_layers_from_the_loss_on():
    parameters = layers(4)
    last = residual(torch.ones(1, 16), parameters)
    blocks = backward_blocks([last[0, i] for i in range(2)], parameters)
    assert [block.parameters for block in blocks] == [(3,), (2,), (1,), (0,)]
    assert [len(block.ends) for block in blocks] == [1, 1, 1, 0]  # the hidden state, not the branch beside it
    assert [edge.node.name() for edge in blocks[0].ends] == ["AddBackward0"]


def test_two_projections_of_one_layer_may_be_apart_and_nothing_is_in_two_blocks():
    parameters = layers(6)
    x = torch.ones(1, 16)
    for first, second in zip(parameters[::2], parameters[1::2], strict=True):
        x = x + torch.tanh(x @ first) @ second
    every = found([x.sum()], parameters)
    assert sorted(i for block in every for i in block) == list(range(6))
    assert len(every) > 1


def test_blocks_are_no_smaller_than_a_sixteenth():
    parameters = layers(64, width=8)
    assert len(found([residual(torch.ones(1, 8), parameters).sum()], parameters)) == 16


def test_activations_that_are_larger_than_what_a_cut_saves_leave_one_block():
    parameters = layers(4)
    assert len(found([residual(torch.ones(1, 16), parameters).sum()], parameters)) == 4
    assert len(found([residual(torch.ones(1000, 16), parameters).sum()], parameters)) == 1


@pytest.mark.parametrize(("shared", "expected"), [([0, 1, 2, 0], 1), ([0, 0, 1, 2], 3), ([0, 1, 1, 2], 3)])
def test_a_parameter_that_is_used_twice_is_in_one_block(shared, expected):
    parameters = layers(3)
    every = found([residual(torch.ones(1, 16), [parameters[i] for i in shared]).sum()], parameters)
    assert len(every) == expected
    assert sorted(i for block in every for i in block) == [0, 1, 2]


def test_forwards_side_by_side_are_cut_together():
    parameters = layers(4)
    both = torch.cat([residual(torch.ones(1, 16), parameters), residual(torch.zeros(2, 16), parameters)])
    blocks = backward_blocks([both.sum()], parameters)
    assert [block.parameters for block in blocks] == [(3,), (2,), (1,), (0,)]
    assert [len(block.ends) for block in blocks] == [2, 2, 2, 0]


def test_losses_without_a_common_forward_are_cut_together():
    parameters = layers(4)
    losses = [residual(torch.full((1, 16), float(k)), parameters).sum() for k in range(2)]
    assert found(losses, parameters) == [(3,), (2,), (1,), (0,)]


def test_what_checkpointing_computes_again_stays_whole():
    parameters = layers(6)
    x = torch.ones(1, 16)
    for start in (0, 3):
        x = checkpoint(residual, x, parameters[start : start + 3], use_reentrant=False)
    assert found([x.sum()], parameters) == [(3, 4, 5), (0, 1, 2)]


def test_no_end_leads_to_another():
    """Every layer sees all before it: what flows to an early one would be counted on the way and once more where it was cut."""
    parameters, seen = layers(4), [torch.ones(1, 16)]
    for p in parameters:
        seen.append(torch.tanh(torch.stack(seen).sum(0) @ p))
    assert found([torch.stack(seen).sum()], parameters) == [(1, 2, 3), (0,)]


def test_nothing_is_cut_before_a_loss_that_another_is_made_of():
    parameters = layers(4)
    inner = residual(torch.ones(1, 16), parameters[:2]).sum()
    outer = residual(inner.expand(1, 16), parameters[2:]).sum()
    assert found([outer], parameters) == [(3,), (2,), (1,), (0,)]
    assert found([inner, outer], parameters) == [(2, 3), (0, 1)]  # the largest would not be smaller with more
    assert found([outer, outer * 2], parameters) == [(3,), (2,), (1,), (0,)]


def test_unused_parameters_are_in_no_block_and_others_than_leaves_in_one():
    parameters = layers(3)
    loss = residual(torch.ones(1, 16), parameters[:2]).sum()
    assert found([loss], parameters) == [(1,), (0,)]
    leaf = parameters[0]
    inner = leaf * 2
    assert found([(inner @ leaf).sum()], [inner, leaf]) == [(0, 1)]
    scalar = nn.Parameter(torch.ones(()))
    assert found([scalar], [scalar]) == [(0,)]
