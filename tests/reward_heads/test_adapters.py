import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.adapters import has_lora, in_trunk, lora_layers, merge_lora, merged_state_dict, set_trainable

from .encoders import KINDS, make_encoder

PROMPTS, TEXTS = ["ask me :"] * 3, [" good cat", " the bad dog sat", " sky"]


def stir(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(len(name)), std=0.1)


def trained(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("kind", ["llama", *KINDS])
def test_merged_scores_as_before_and_is_an_ordinary_model(kind, reward, tokenizer):
    reward = reward if kind == "llama" else make_encoder(kind, tokenizer)
    names, plain = list(reward.model.state_dict()), reward.score(PROMPTS, TEXTS)
    set_trainable(reward, "lora", 4, seed=0)
    assert has_lora(reward.model)
    assert_close(reward.score(PROMPTS, TEXTS), plain)  # a new LoRA does nothing
    stir(reward.model)
    with_lora = reward.score(PROMPTS, TEXTS)
    assert not torch.allclose(with_lora, plain, atol=1e-3)
    merged = merged_state_dict(reward.model)
    merge_lora(reward.model)
    assert not has_lora(reward.model)
    assert_close(reward.score(PROMPTS, TEXTS), with_lora, atol=1e-5, rtol=1e-4)
    assert set(merged) == set(names) == set(reward.model.state_dict())
    for name, weight in reward.model.state_dict().items():
        assert_close(merged[name], weight, atol=1e-6, rtol=1e-5)


def test_alpha_scales_and_targets_choose(reward):
    layers = lora_layers(reward.model, ["q_proj", "layers.1.mlp.up_proj"])
    assert layers == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    ]
    assert len(lora_layers(reward.model)) == len(lora_layers(reward.model, ["all-linear"])) == 14
    set_trainable(reward, "lora", 4, 0, lora_alpha=2, target_modules=["q_proj"])
    layer = reward.model.model.layers[0].self_attn.q_proj
    assert layer.scaling == {"default": 0.5}
    assert not any("up_proj" in name for name in trained(reward.model))


def test_an_encoders_pooler_is_trained_with_the_heads(tokenizer):
    reward = make_encoder("bert", tokenizer)
    set_trainable(reward, "heads", 1, 0)
    assert {name.rpartition(".")[0] for name in trained(reward.model)} == {"classifier", "bert.pooler.dense"}
    assert not in_trunk(reward.model, "bert.pooler.dense")
    assert in_trunk(reward.model, "bert.encoder.layer.0.output.dense")


def test_refuses_what_is_not_there(reward):
    with pytest.raises(InputError, match="unknown linear layer of the trunk 'q_prj': did you mean 'q_proj'"):
        lora_layers(reward.model, ["q_prj"])
    with pytest.raises(InputError, match="unknown trainable 'head': did you mean 'heads'"):
        set_trainable(reward, "head", 1, 0)
