import pytest
import torch
from torch import nn

PLAIN = {"r": 3, "lora_alpha": 6, "target_modules": ["embed_tokens", "q_proj"]}
DORA = {"r": 2, "lora_alpha": 3, "use_dora": True, "target_modules": ["embed_tokens"]}


@pytest.mark.parametrize("options", [(PLAIN, PLAIN), (PLAIN, DORA), (DORA, DORA)])
def test_a_mixture_is_the_sum_of_what_each_adapter_changes_alone(kinds, qwen2, options):
    kinds(qwen2, *options).check()


@pytest.mark.parametrize("options", [PLAIN, DORA])
def test_gradients_are_those_of_peft(kinds, qwen2, options):
    kinds(qwen2, PLAIN, options).check_gradients()


def test_a_tied_output_layer_stays_as_it_is(kinds, gpt2):
    """As in PEFT's own forward: the adapter sits on the embedding alone."""
    options = {"r": 3, "lora_alpha": 6, "target_modules": ["wte"], "fan_in_fan_out": True}
    two = kinds(gpt2, options, options)
    mixture = two.mixture()
    ids = torch.tensor([[1, 5, 6, 7, 8]])
    with torch.no_grad(), mixture.steer(torch.tensor([0.0, 1.0])):
        assert torch.allclose(mixture.model(ids).logits, two.alone(1)(ids).logits, atol=1e-5)


def test_a_model_that_scales_its_embeddings_scales_the_change(kinds):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=False,
    )
    base = Gemma3ForCausalLM(config).eval()
    nn.init.normal_(base.lm_head.weight, std=0.2)
    kinds(base, {**PLAIN, "target_modules": ["embed_tokens"]}, {**PLAIN, "target_modules": ["embed_tokens"]}).check()
