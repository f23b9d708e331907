import pytest
import torch

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


def test_a_model_that_scales_its_embeddings_scales_the_change(kinds, gemma3):
    options = {**PLAIN, "target_modules": ["embed_tokens"]}
    kinds(gemma3, options, options).check()
