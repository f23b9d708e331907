import copy

import pytest
from peft import IA3Config, LoraConfig, get_peft_model
from torch import nn

from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture, SteerableLinear


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": "lora_only"}, "bias='lora_only'.*lora_bias=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'.*no other adapter has the same base"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 1], [0, 2]]}, "layer_replication"),
        ({"modules_to_save": ["mlp"]}, r"'model\.layers\.0\.mlp' in modules_to_save is a Qwen2MLP"),
        ({"init_lora_weights": "mica"}, "MiCALinearVariant"),
    ],
)
def test_refuses_what_cannot_be_exact(qwen2, options, message):
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **options})
    model = get_peft_model(copy.deepcopy(qwen2), config, adapter_name="helpful")
    with pytest.raises(InputError, match=message):
        AdapterMixture(model, ["helpful"])
    assert not any(isinstance(module, SteerableLinear) for module in model.modules())  # refused before any change


@pytest.mark.parametrize("options", [{"target_modules": ["wpe"]}, {"modules_to_save": ["wpe"]}])
def test_refuses_embeddings_of_positions(gpt2, options):
    config = LoraConfig(**{"r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True, **options})
    model = get_peft_model(copy.deepcopy(gpt2), config, adapter_name="helpful")
    with pytest.raises(InputError, match=r"'transformer\.wpe' is an embedding, but not of the input tokens"):
        AdapterMixture(model, ["helpful"])


def test_refuses_an_embedding_with_max_norm(qwen2):
    base = copy.deepcopy(qwen2)
    base.model.embed_tokens.max_norm = 1.0
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["embed_tokens"]), adapter_name="helpful")
    with pytest.raises(InputError, match="max_norm"):
        AdapterMixture(model, ["helpful"])


def test_refuses_convolutions():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4))
    model = get_peft_model(net, LoraConfig(r=2, target_modules=["0"]), adapter_name="helpful")
    with pytest.raises(InputError, match=r"layer '0' carries a .*Conv2d"):
        AdapterMixture(model, ["helpful"])


def test_refuses_adapters_that_are_no_lora(qwen2):
    config = IA3Config(target_modules=["q_proj"], feedforward_modules=[])
    model = get_peft_model(copy.deepcopy(qwen2), config, adapter_name="helpful")
    with pytest.raises(InputError, match="only LoRA adapters"):
        AdapterMixture(model, ["helpful"])
