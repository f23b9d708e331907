import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live_bytes import LiveBytes
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from frontier.errors import InputError
from moalign.scalarize import gramian as module
from moalign.scalarize.backward_blocks import backward_blocks
from moalign.scalarize.gramian import gramian_of, streamed_gramian

NAN = math.nan


def rows_of(losses, parameters):
    """The matrix that is never stored, slowly."""
    found = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in losses]
    return torch.stack(
        [
            torch.cat(
                [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, row, strict=True)]
            )
            for row in found
        ]
    )


def deep(layers=12, width=32, objectives=4, recompute=False):
    """Losses of a residual network, and its parameters."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(width, width) / width) for _ in range(layers)]
    x = torch.randn(2, width)

    def layer(x, p):
        return x + torch.tanh(x @ p)

    for p in parameters:
        x = checkpoint(layer, x, p, use_reentrant=False) if recompute else layer(x, p)
    return [(x * torch.randn(2, width)).sum() for _ in range(objectives)], parameters


def test_hand_computed():
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    losses = [(x * x).sum(), x[0] * y[0], 2 * y.sum()]  # (2, 4, 0), (3, 0, 1), (0, 0, 2)
    expected = torch.tensor([[20.0, 6.0, 0.0], [6.0, 10.0, 2.0], [0.0, 2.0, 4.0]], dtype=torch.float64)
    assert_close(streamed_gramian(losses, [x, y]), expected)
    rows = torch.tensor([[2.0, 4.0, 0.0], [3.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    assert_close(gramian_of(rows, torch.ones(3, dtype=torch.bool)), expected)


@given(st.integers(0, 10_000), st.data())
def test_the_same_as_of_stored_rows_for_any_graph(seed, data):
    """Layers that take any two earlier values, parameters used any number of times, losses anywhere."""
    torch.manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(4, 4, dtype=torch.float64)) for _ in range(5)]
    values = [torch.randn(1, 4, dtype=torch.float64)]
    for i in range(data.draw(st.integers(1, 12))):
        near = st.integers(max(0, i - 2), i)
        a, b = values[data.draw(near)], values[data.draw(near)]
        values.append(a + torch.tanh(b @ parameters[data.draw(st.integers(0, 4))]))
    ends = data.draw(st.lists(st.integers(1, len(values) - 1), min_size=1, max_size=4))
    losses = [(values[end] * torch.randn(4, dtype=torch.float64)).sum() for end in ends]
    rows = rows_of(losses, parameters)
    assert_close(streamed_gramian(losses, parameters), rows @ rows.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recompute", [False, True])
def test_it_is_cut_and_exact(recompute):
    losses, parameters = deep(recompute=recompute)
    assert len(backward_blocks(losses, parameters, copies=4)) > 4
    rows = rows_of(losses, parameters).double()
    assert_close(streamed_gramian(losses, parameters), rows @ rows.T, rtol=1e-12, atol=1e-12)


def test_a_loss_that_another_is_made_of():
    _, parameters = deep(layers=4)
    x = torch.ones(1, 32)
    inner = sum(torch.tanh(x @ p) for p in parameters[:2]).sum()
    outer = inner.expand(1, 32)
    for p in parameters[2:]:
        outer = outer + torch.tanh(outer @ p)
    losses = [inner, outer.sum(), inner]
    rows = rows_of(losses, parameters).double()
    assert_close(streamed_gramian(losses, parameters), rows @ rows.T, rtol=1e-12, atol=1e-12)


def test_every_node_runs_once_per_objective():
    losses, parameters = deep()
    runs, stack, nodes = Counter(), [loss.grad_fn for loss in losses], set()
    while stack:
        node = stack.pop()
        if node not in nodes and "Accumulate" not in node.name():
            nodes.add(node)
            node.register_hook(lambda *_, node=node: runs.update([node]))
            stack += [child for child, _ in node.next_functions if child is not None]
    streamed_gramian(losses, parameters)
    tanh = [runs[node] for node in nodes if node.name() == "TanhBackward0"]
    assert tanh == [4] * 12
    assert max(runs.values()) == 4


def test_the_gradients_of_a_few_layers_are_alive_at_once_and_none_afterwards():
    losses, parameters = deep(layers=32, width=64)
    stored = 4 * sum(p.numel() * p.element_size() for p in parameters)
    with LiveBytes(*parameters) as live:
        streamed_gramian(losses, parameters)
    # Two layers of the 32 (with K copies and those in float64 of one of them), and hidden states.
    assert live.peak < stored / 4
    assert live.now < 1000
    with LiveBytes(*parameters) as live:
        rows_of(losses, parameters)
    assert live.peak >= stored


def test_long_gradients_are_multiplied_piece_by_piece(monkeypatch):
    losses, parameters = deep(layers=3)
    whole = streamed_gramian(losses, parameters)
    monkeypatch.setattr(module, "_COLUMNS", 100)
    assert_close(streamed_gramian(losses, parameters), whole, rtol=1e-12, atol=1e-12)


def test_sums_are_exact_where_float32_would_not_be():
    """A million equal terms: in float32 a running sum is off in the fifth digit."""
    x = torch.full((1_000_000,), 0.1, requires_grad=True)
    got = streamed_gramian([x.sum(), 3 * x.sum()], [x])
    assert got.tolist() == [[1e6, 3e6], [3e6, 9e6]]


@pytest.mark.parametrize("missing", [None, torch.tensor(NAN)])
def test_missing_objectives(missing):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    got = streamed_gramian([x.sum(), missing, x[0]], [x])
    assert_close(got, torch.tensor([[2, NAN, 1], [NAN, NAN, NAN], [1, NAN, 1]], dtype=torch.float64), equal_nan=True)
    assert streamed_gramian([missing, missing], [x]).isnan().all()


def test_losses_that_reach_no_parameter_have_products_of_zero_and_the_graph_stays():
    x, y = torch.tensor([1.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    losses = [(x * x).sum(), (y * y).sum()]
    assert streamed_gramian(losses, [x]).tolist() == [[4.0, 0.0], [0.0, 0.0]]
    assert x.grad is None
    losses[0].backward()
    assert x.grad.item() == 2.0


def test_refusals():
    x = torch.tensor([0.0], requires_grad=True)
    with pytest.raises(InputError, match="gradient of objective 1 is not finite"):
        streamed_gramian([x.sum(), x.sqrt().sum()], [x])
    with pytest.raises(InputError, match="objective 0 has no gradient: it was detached"):
        streamed_gramian([torch.tensor(1.0), x.sum()], [x])
