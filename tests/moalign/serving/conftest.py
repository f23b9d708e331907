"""A tiny steerable policy of random weights, made with plain transformers, tokenizers and PEFT."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from moalign.policy import SteerablePolicy
from moalign.serving.engine import Engine

WORDS = [f"w{i}" for i in range(56)]
SPECIAL = ["<pad>", "<eos>", "<unk>", "user", "assistant", "system"]
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}assistant"


def make_tokenizer(chat=True):
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    fast.chat_template = TEMPLATE if chat else None
    return fast


def save_base(folder, chat=True, context=128):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.35,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(chat).save_pretrained(folder)


def save_adapter(base, folder, seed, rank, alpha, modules):
    torch.manual_seed(seed)
    model = LlamaForCausalLM.from_pretrained(base)
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("serving")
    save_base(root / "base")
    save_adapter(root / "base", root / "helpful", 1, 4, 8, ["q_proj", "v_proj", "down_proj"])
    save_adapter(root / "base", root / "brief", 2, 2, 6, ["v_proj", "up_proj"])
    return root


@pytest.fixture(scope="session")
def policy(model_folders):
    adapters = {name: model_folders / name for name in ("helpful", "brief")}
    return SteerablePolicy.from_pretrained(model_folders / "base", adapters=adapters, device="cpu")


@pytest.fixture
def engine(policy):
    with Engine(policy, max_batch_size=4) as engine:
        yield engine
