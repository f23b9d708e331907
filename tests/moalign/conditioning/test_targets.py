import pytest
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM

from frontier.errors import InputError
from moalign.conditioning.targets import target_modules
from moalign.loading import load_base

ATTENTION = [f"model.layers.{i}.self_attn.{n}_proj" for i in (0, 1) for n in "qkvo"]
REST = [f"model.layers.{i}.mlp.{n}_proj" for i in (0, 1) for n in ("gate", "up", "down")]


@pytest.fixture(scope="module")
def llama(tiny_base):
    return load_base(tiny_base)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("attention", ATTENTION),
        ("not-attention", REST),
        ("output", ["lm_head"]),
        ("attention, output", [*ATTENTION, "lm_head"]),
        ("all-linear,output", [*ATTENTION, *REST, "lm_head"]),
        ("q_proj,up_proj", ["q_proj", "up_proj"]),
        ("layers.1.self_attn.q_proj,q_proj,q_proj", ["layers.1.self_attn.q_proj", "q_proj"]),
    ],
)
def test_parts_and_names(llama, targets, expected):
    assert sorted(target_modules(llama, targets)) == sorted(expected)


def test_all_linear_is_pefts_own(llama):
    assert target_modules(llama, " all-linear ") == "all-linear"


@pytest.mark.parametrize("part", ["attention", "not-attention", "output"])
def test_peft_adapts_just_the_part(tiny_base, part):
    base = load_base(tiny_base)
    expected = set(target_modules(base, part))
    model = get_peft_model(base, LoraConfig(r=1, target_modules=target_modules(base, part)))
    touched = {
        name.split(".lora_A")[0].removeprefix("base_model.model.")
        for name, _ in model.named_parameters()
        if ".lora_A" in name
    }
    assert touched == expected


def test_conv1d_counts_as_linear():
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1, n_positions=8, bos_token_id=0, eos_token_id=1)
    )
    assert target_modules(gpt2, "attention") == ["transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_proj"]
    assert target_modules(gpt2, "not-attention") == ["transformer.h.0.mlp.c_fc", "transformer.h.0.mlp.c_proj"]
    assert target_modules(gpt2, "output") == ["lm_head"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("q_porj", "unknown target module 'q_porj': did you mean 'q_proj'"),
        ("atention", "did you mean 'attention'"),
        ("embed_tokens", "unknown target module 'embed_tokens'"),
        ("proj", "unknown target module 'proj'"),
        ("q_proj,", "unknown target module ''"),
    ],
)
def test_unknown_names_are_refused(llama, targets, message):
    with pytest.raises(InputError, match=message):
        target_modules(llama, targets)


def test_a_part_that_the_model_does_not_have():
    mamba = MambaForCausalLM(MambaConfig(vocab_size=12, hidden_size=8, num_hidden_layers=1, state_size=2))
    with pytest.raises(InputError, match="no layer that counts as 'attention'"):
        target_modules(mamba, "attention")
