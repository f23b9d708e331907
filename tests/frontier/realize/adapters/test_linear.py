import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear

from frontier.errors import InputError
from frontier.realize.adapters import SteerableLinear
from frontier.realize.adapters.rows import RowWeights, opened

DORA = {"r": 3, "lora_alpha": 6, "use_dora": True, "target_modules": ["q_proj", "down_proj"]}
PLAIN = {"r": 2, "lora_alpha": 3, "use_rslora": True, "target_modules": ["q_proj", "o_proj"]}
BIASED = {"r": 2, "lora_alpha": 3, "lora_bias": True, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize("options", [(DORA, DORA), (DORA, PLAIN), (BIASED, PLAIN), (BIASED, DORA)])
def test_a_mixture_is_the_sum_of_what_each_adapter_changes_alone(kinds, qwen2, options):
    kinds(qwen2, *options).check()


@pytest.mark.parametrize("extra", [{"use_dora": True}, {"lora_bias": True}])
def test_conv1d(kinds, gpt2, extra):
    options = {"r": 3, "lora_alpha": 6, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
    kinds(gpt2, {**options, **extra}, options).check()


@pytest.mark.parametrize("options", [DORA, PLAIN, BIASED])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_of_peft(kinds, qwen2, options, dropout):
    kinds(qwen2, DORA, {**options, "lora_dropout": dropout}).check_gradients(train=True)


def test_a_row_of_two_by_hand():
    """W0 = I, A = (1, 1), B = (1, 0)ᵀ, s = 2, w = (0.5, −1): W0 + w·2·B·A = I + w·((2, 2), (0, 0))."""
    layer = SteerableLinear(torch.nn.Linear(2, 2, bias=False), "a", LoraConfig(r=1), r=1, lora_alpha=2)
    layer.mixture_id, layer.frozen, layer.routed = 0, None, False
    layer.base_layer.weight.data = torch.eye(2)
    layer.down("a").data = torch.ones(1, 2)
    layer.up("a").data = torch.tensor([[1.0], [0.0]])
    with torch.no_grad(), opened(0, RowWeights(("a",), torch.tensor([[0.5], [-1.0]]))):
        got = layer(torch.tensor([[1.0, 3.0], [1.0, 3.0]]))
    assert got.tolist() == [[1 + 0.5 * 8, 3.0], [1 - 8.0, 3.0]]


def test_the_input_and_what_a_hook_keeps_are_left_alone(kinds, qwen2):
    mixture = kinds(qwen2, PLAIN, PLAIN).mixture()
    layer = mixture.layers["model.layers.0.self_attn.q_proj"]
    x, kept = torch.randn(3, 4, 16), []
    before = x.clone()
    with torch.no_grad(), mixture.steer(torch.ones(2)):
        without = layer(x)
        handle = layer.base_layer.register_forward_hook(lambda module, args, output: kept.append(output))
        assert torch.equal(layer(x), without)
        handle.remove()
        assert torch.equal(kept[0], layer.base_layer(x))
    assert torch.equal(x, before)


def test_experts_of_a_mixture_of_experts_refuse_several_rows(kinds, qwen2):
    mixture = kinds(qwen2, PLAIN, PLAIN).mixture()
    layer = mixture.layers["model.layers.0.self_attn.q_proj"]
    layer.routed = True  # as for a path with `.experts.`
    with torch.no_grad():
        with mixture.steer(torch.ones(2, 2)), pytest.raises(ValueError, match="mixture of experts"):
            layer(torch.randn(4, 16))
        with mixture.steer(torch.ones(2)):
            layer(torch.randn(4, 16))


def test_low_rank_factors_are_refused_where_there_are_none(kinds, qwen2):
    mixture = kinds(qwen2, DORA, BIASED).mixture()
    path = "model.layers.0.self_attn.q_proj"
    with pytest.raises(InputError, match="'a0' uses DoRA"):
        mixture.factors(path, [1.0, 0.0])
    with pytest.raises(InputError, match="'a1' uses lora_bias"):
        mixture.factors(path, [0.0, 1.0])
    assert mixture.factors(path, [0.0, 0.0]) is None


def test_peft_still_looks_as_expected_inside():
    """`SteerableLinear` reads these names of PEFT's LoRA layer; when this fails, PEFT moved them."""
    layer = Linear(torch.nn.Linear(4, 4), "a", LoraConfig(r=2), r=2, lora_alpha=4)
    assert layer.lora_A["a"].weight.shape == (2, 4)
    assert layer.lora_B["a"].weight.shape == (4, 2)
    assert layer.lora_B["a"].bias is None
    assert layer.scaling["a"] == 2
    assert layer.r["a"] == 2
    assert isinstance(layer.lora_dropout["a"], torch.nn.Identity)
    assert layer._disable_adapters is False
    assert layer.merged_adapters == []
    assert layer.lora_variant == {}
    assert len(layer.lora_magnitude_vector) == 0
    assert layer.fan_in_fan_out is False
    assert issubclass(SteerableLinear, Linear)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_adapters_of_two_dtypes(kinds, qwen2, dropout):
    """PEFT keeps each adapter in the dtype that it was loaded in."""
    mixture = kinds(qwen2, {**PLAIN, "lora_dropout": dropout}, PLAIN).mixture()
    for parameter in mixture.parameters("a1"):
        parameter.data = parameter.data.bfloat16()
    mixture.train_adapters()
    mixture.model.train()
    ids = torch.tensor([[1, 5, 6]])
    with mixture.steer(torch.tensor([0.5, 0.5])):
        mixture.model(ids).logits.square().sum().backward()
    for name in mixture.names:
        gradients = [p.grad for p in mixture.parameters(name)]
        assert all(
            g.dtype == p.dtype and g.abs().sum() > 0 for g, p in zip(gradients, mixture.parameters(name), strict=True)
        )
