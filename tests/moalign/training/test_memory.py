import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.training.direct import DirectConfig
from moalign.training.memory import (
    GIB,
    Memory,
    MemorySettings,
    Saved,
    activation_bytes,
    kv_cache_bytes,
    llama_7b,
    memory,
    table,
)
from moalign.training.starting_policy import starting_policy

SMALL = {"hidden_size": 64, "intermediate_size": 160, "vocab_size": 300, "num_attention_heads": 4}
MODELS = {
    "llama": LlamaConfig(**SMALL, num_hidden_layers=3, num_key_value_heads=2, max_position_embeddings=256),
    "tied": LlamaConfig(**SMALL, num_hidden_layers=3, tie_word_embeddings=True, max_position_embeddings=256),
    "qwen2": Qwen2Config(**SMALL, num_hidden_layers=3, num_key_value_heads=2, max_position_embeddings=256),
    "gpt2": GPT2Config(vocab_size=300, n_embd=64, n_layer=3, n_head=4, n_positions=256),
}
# The real run saves a few small things more or fewer than one over tensors without content.
FACTOR = 1.1
SETTINGS = MemorySettings(objectives=3, lora_r=4, dtype=torch.float32, gradient_checkpointing=False)


@pytest.fixture(params=MODELS)
def config(request):
    return MODELS[request.param]


@pytest.fixture
def policy(config, tokenizer, tmp_path):
    """A real policy of three objectives, ready for training."""
    settings = DirectConfig(output_dir=str(tmp_path), lora_r=4, use_cpu=True, report_to=[])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    made: SteerablePolicy = starting_policy(model, ("a", "b", "c"), settings, 0, tokenizer)
    made.mixture.train_adapters()
    return made


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def test_parameters_gradients_and_optimizer_are_exact(config, policy):
    found = memory(config, SETTINGS)
    trained = policy.mixture.parameters()
    assert found.base == size(p for p in policy.model.parameters() if not p.requires_grad)
    assert found.adapters == size(trained)
    assert found.policy == size(policy.model.parameters())
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert found.gradients == size(p.grad for p in trained)
    assert found.optimizer == size(t for state in optimizer.state.values() for t in state.values())
    assert memory(config, MemorySettings(objectives=3, lora_r=4, optimizer="sgd")).optimizer == 0


def test_the_cache_is_exact(config, policy):
    ids = torch.zeros(2, 7, dtype=torch.long)
    with torch.no_grad(), policy.steer_rows(torch.ones(1, 3) / 3):
        cache = policy.model(input_ids=ids, use_cache=True).past_key_values
    held = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    assert kv_cache_bytes(config, 2, 7, torch.float32) == size(held)


@pytest.mark.parametrize("half", [False, True])
def test_activations_are_those_of_a_real_forward(half, config, policy):
    """In float32, and as training in half precision does it: a bfloat16 base with float32 adapters under autocast."""
    if half:
        for parameter in policy.model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
    dtype = torch.bfloat16 if half else torch.float32
    ids = torch.zeros(3, 40, dtype=torch.long)
    counted = Saved(policy.model)
    with policy.steer_rows(torch.rand(3, 3)), counted, torch.autocast("cpu", torch.bfloat16, enabled=half):
        policy.base.base_model(input_ids=ids, use_cache=False)
    settings = MemorySettings(objectives=3, lora_r=4, dtype=dtype, gradient_checkpointing=False)
    assert counted.bytes / FACTOR < activation_bytes(config, settings, 3, 40) < counted.bytes * FACTOR


def test_checkpointing_keeps_one_layer_and_the_stream_between_layers():
    config = MODELS["llama"]
    kept = activation_bytes(config, SETTINGS, 2, 50)
    less = activation_bytes(config, MemorySettings(objectives=3, lora_r=4, dtype=torch.float32), 2, 50)
    layer = (kept - less) / 2 + 2 * 50 * 64 * 4  # two of three layers, each less its input
    assert less < kept
    assert kept == pytest.approx(less - 2 * (2 * 50 * 64 * 4) + 2 * layer)
    assert layer > 10 * 2 * 50 * 64 * 4


def test_counts_each_storage_once_and_no_parameter():
    layer = nn.Linear(8, 8, bias=False)
    x = torch.zeros(4, 8, requires_grad=True)
    counted = Saved(layer)
    with counted:
        y = layer(x)
        _ = y * y  # y twice, in one storage
    assert counted.bytes == 4 * (4 * 8 + 4 * 8)  # x for the weight's gradient, y


def test_shared_prompts_and_rows():
    pairs = MemorySettings(records=4, completions=2, prompt_tokens=100, completion_tokens=50)
    assert pairs.rows == (4, 200)
    assert MemorySettings(records=4, prompt_tokens=100, completion_tokens=50, share_prompts=False).rows == (8, 150)
    config = MODELS["llama"]
    apart = memory(config, MemorySettings(share_prompts=False, gradient_checkpointing=False))
    together = memory(config, MemorySettings(gradient_checkpointing=False))
    # 4 x 1536 tokens instead of 8 x 1024; the mask, which grows with the square, is larger.
    assert 0.74 * apart.activations < together.activations < 0.9 * apart.activations
    assert together.logits == apart.logits


def test_seven_billion_by_hand():
    """Llama-2 7B has 6,738,415,616 parameters, and 0.5 MiB of keys and values a token in half precision."""
    found = memory(llama_7b())
    assert found.base == 2 * 6_738_415_616
    # Seven linear layers in each of 32: q, k, v, o (4096 + 4096) and gate, up, down (4096 + 11008), rank 16, four objectives.
    assert found.adapters == 4 * 4 * 16 * 32 * (4 * 8192 + 3 * 15104)
    assert found.kv_cache == 32 * 2048 * 2**19
    assert found.training < 24 * GIB  # fits a GPU of 24 GiB
    sharded = memory(llama_7b(), MemorySettings(shard="fsdp2", processes=8))
    layer = 2 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096)
    rest = 2 * (2 * 32000 * 4096 + 4096)
    assert sharded.base == found.base // 8 + rest + 2 * layer
    assert sharded.adapters == found.adapters // 8
    assert sharded.serving == found.serving


def test_table():
    lines = table({"one": Memory(GIB, 0, 0, 0, 0, 0, 2 * GIB, GIB)}).splitlines()
    assert lines[0] == "| GiB per GPU | one |"
    assert "| base | 1.00 |" in lines
    assert "| **serving** | **3.00** |" in lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": 0}, "objectives must be at least 1, found 0"),
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"shard": "fsdp"}, "did you mean 'fsdp2'"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(InputError, match=message):
        MemorySettings(**change)
