import pytest
import torch
from torch import nn

from frontier.errors import InputError
from frontier.realize.adapters.saved import is_affine_in_parameters

HEAD = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
EMBEDDING = {**HEAD, "modules_to_save": ["embed_tokens"]}
NORMS = {**HEAD, "modules_to_save": ["norm", "input_layernorm"]}
NONE = {**HEAD, "modules_to_save": None}


@pytest.mark.parametrize("options", [(HEAD, HEAD), (HEAD, NONE), (NONE, EMBEDDING), (NORMS, HEAD), (NORMS, NORMS)])
def test_a_mixture_is_the_sum_of_what_each_adapter_changes_alone(kinds, qwen2, options):
    kinds(qwen2, *options).check()


def test_layer_norms_with_biases(kinds, gpt2):
    options = {"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True, "modules_to_save": ["ln_1", "ln_f"]}
    kinds(gpt2, options, options).check()


def test_gradients_are_those_of_peft(kinds, qwen2):
    kinds(qwen2, HEAD, {**HEAD, "modules_to_save": ["lm_head", "norm"]}).check_gradients()


def test_the_copies_are_parameters_of_their_adapter(kinds, qwen2):
    mixture = kinds(qwen2, HEAD, NONE).mixture()
    copy = mixture.layers["lm_head"].modules_to_save["a0"].weight
    assert any(p is copy for p in mixture.parameters("a0"))
    assert not any(p is copy for p in mixture.parameters("a1"))
    mixture.train_adapters(["a1"])
    assert not copy.requires_grad
    mixture.train_adapters()
    assert copy.requires_grad
    assert not mixture.layers["lm_head"].original_module.weight.requires_grad
    with pytest.raises(InputError, match=r"'lm_head' is a module in modules_to_save"):
        mixture.factors("lm_head", [1.0, 0.0])


def test_unsteered_is_refused_and_disabled_is_the_base(kinds, qwen2):
    mixture = kinds(qwen2, HEAD, HEAD).mixture()
    head, x = mixture.layers["lm_head"], torch.randn(1, 3, 16)
    with pytest.raises(RuntimeError, match="no weights are set"):
        head(x)
    with mixture.model.disable_adapter():
        assert torch.equal(head(x), qwen2.lm_head(x))


@pytest.mark.parametrize(
    ("module", "affine"),
    [
        (nn.Linear(2, 2), True),
        (nn.LayerNorm(2), True),
        (nn.Embedding(2, 2), True),
        (nn.Embedding(2, 2, max_norm=1.0), False),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), False),
    ],
)
def test_what_is_affine_in_its_parameters(module, affine):
    assert is_affine_in_parameters(module) == affine
