import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.merging.methods import METHODS, block_of, layer_of

RLHF, OTHER, SFT = torch.tensor([3.0, 5.0]), torch.tensor([0.0, 2.0]), torch.tensor([1.0, 1.0])


def at(block, tensors, base, ratios):
    chosen = METHODS["layerwise"]
    return chosen(tensors, base, chosen.Parameters.of(len(tensors), {"ratios": ratios, "block": block}))


def test_by_hand():
    # The paper's α θ_RLHF + (1 - α) θ_SFT, each block with its own α.
    assert_close(at(0, [RLHF], SFT, [0.25, 1.0]), torch.tensor([1.5, 2.0]))
    assert torch.equal(at(1, [RLHF], SFT, [0.25, 1.0]), RLHF)
    assert torch.equal(at(0, [RLHF], SFT, [0.0]), SFT)


def test_several_models():
    got = at(1, [RLHF, OTHER], SFT, [[0.9, 0.5], [0.9, 1.0]])
    assert_close(got, SFT + 0.5 * (RLHF - SFT) + (OTHER - SFT))
    assert_close(at(0, [RLHF, OTHER], SFT, [0.5]), 0.5 * (RLHF + OTHER))  # one list serves all models


def test_equal_blocks_are_task_arithmetic(merge):
    got = at(1, [RLHF, OTHER], SFT, [[0.3, 0.3], [0.6, 0.6]])
    assert_close(got, merge("task_arithmetic", [RLHF, OTHER], SFT, weight=[0.3, 0.6]))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.12.self_attn.q_proj.weight", 12),
        ("transformer.h.3.attn.c_attn.weight", 3),
        ("gpt_neox.layers.0.mlp.dense_h_to_4h.bias", 0),
        ("bert.encoder.layer.7.output.dense.weight", 7),
        ("model.embed_tokens.weight", None),
        ("model.norm.weight", None),
    ],
)
def test_layer_of(name, layer):
    assert layer_of(name) == layer


def test_block_of_uneven_layers():
    blocks = [block_of(f"model.layers.{i}.mlp.up_proj.weight", 7, 3) for i in range(7)]
    assert blocks == [0, 0, 0, 1, 1, 2, 2]
    assert block_of("transformer.wte.weight", 7, 3) == 0
    assert block_of("transformer.ln_f.weight", 7, 3) == 2


def test_refusals():
    with pytest.raises(InputError, match="block 2, but there are ratios for 2 blocks"):
        at(2, [RLHF], SFT, [0.1, 0.2])
    with pytest.raises(InputError, match=r"as many ratios as there are blocks, found \[1, 2\]"):
        at(0, [RLHF, OTHER], SFT, [[0.1], [0.1, 0.2]])
    with pytest.raises(InputError, match=r"must be a list of numbers, found 0.5"):
        at(0, [RLHF], SFT, 0.5)
    with pytest.raises(InputError, match="6 layers can't be cut into 7 blocks"):
        block_of("lm_head.weight", 6, 7)
    with pytest.raises(InputError, match="is of layer 6, but the model has 6 layers"):
        block_of("model.layers.6.mlp.up_proj.weight", 6, 2)
