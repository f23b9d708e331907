import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig

from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture
from frontier.realize.export import mixture_as_lora
from frontier.realize.logit_error import measure_logit_error

WEIGHTS = [0.5, -1.0]
PROMPTS = [[1, 5, 6, 7], [1, 9]]


@pytest.fixture(scope="module")
def mixture(tiny_base, plain_adapters):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    peft_model = PeftModel.from_pretrained(model, plain_adapters["helpful"], adapter_name="helpful")
    peft_model.load_adapter(plain_adapters["brief"], adapter_name="brief")
    return AdapterMixture(peft_model.eval(), ["helpful", "brief"])


def factors(mixture, weights):
    pairs = {path: mixture.factors(path, weights) for path in mixture.layers}
    return {path: pair for path, pair in pairs.items() if pair is not None}


def test_exact_factors_have_no_error(mixture):
    error = measure_logit_error(mixture, WEIGHTS, factors(mixture, WEIGHTS), PROMPTS)
    assert 0 <= error.kl_mean <= error.kl_max < 1e-6
    assert error.relative_error < 1e-5
    assert (error.prompts, error.positions) == (2, 6)


def test_no_factors_are_as_wrong_as_no_adapter(mixture):
    error = measure_logit_error(mixture, WEIGHTS, {}, PROMPTS)
    assert error.share_of_change == pytest.approx(1, abs=1e-6)
    assert 0 < error.kl_mean < error.kl_max


def test_each_prompt_is_run_alone(mixture):
    """The mean over prompts together is that of each, weighted by its tokens; the maximum is the larger one."""
    wrong = factors(mixture, [0.5, -0.5])
    both = measure_logit_error(mixture, WEIGHTS, wrong, PROMPTS)
    one, two = (measure_logit_error(mixture, WEIGHTS, wrong, [prompt]) for prompt in PROMPTS)
    assert both.kl_mean == pytest.approx((4 * one.kl_mean + 2 * two.kl_mean) / 6)
    assert both.kl_max == max(one.kl_max, two.kl_max)
    assert not any(layer._forward_hooks for layer in mixture.layers.values())


def test_hooks_go_when_the_model_fails(mixture):
    with pytest.raises(IndexError):
        measure_logit_error(mixture, WEIGHTS, factors(mixture, WEIGHTS), [[10**6]])
    assert not any(layer._forward_hooks for layer in mixture.layers.values())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("prompts", [[], [[1], []]])
def test_refuses_nothing_to_measure_on(mixture, prompts):
    with pytest.raises(InputError, match="at least one prompt"):
        measure_logit_error(mixture, WEIGHTS, {}, prompts)


def test_embeddings_that_are_scaled_scale_their_change():
    """Gemma multiplies what its embedding gives by the root of its width."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    options = LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], init_lora_weights=False)
    model = get_peft_model(Gemma3ForCausalLM(config), options, adapter_name="it")
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    mixture = AdapterMixture(model.eval(), ["it"])
    exact = mixture_as_lora(mixture, [0.5]).all_factors
    assert "model.embed_tokens" in exact
    error = measure_logit_error(mixture, [0.5], exact, PROMPTS)
    assert error.share_of_change < 1e-4
    assert measure_logit_error(mixture, [0.5], {}, PROMPTS).kl_max > 1e-3
