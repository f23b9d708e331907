"""A tiny random Llama and a word-level tokenizer, made in memory, and a small labelled world."""

import random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reward_heads.model import TransformerReward

WORDS = [
    "please",
    "ask",
    "me",
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "good",
    "bad",
    "nice",
    "awful",
    "fine",
    "very",
    "big",
    "red",
    "sky",
    "sea",
    "user",
    "assistant",
    ":",
    ".",
]
NICE, BAD, OTHER = ["good", "nice", "fine"], ["bad", "awful"], ["cat", "dog", "sat", "ran", "big", "red", "sky", "sea"]


def make_tokenizer(*, add_bos=True, pad=True, eos=True, chat_template=None):
    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {word: index for index, word in enumerate(specials + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>", "unk_token": "<unk>"}
    names |= {"pad_token": "<pad>"} if pad else {}
    names |= {"eos_token": "</s>"} if eos else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = chat_template
    return fast


def make_base(seed=0, hidden=32):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 4,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def base():
    return make_base()


@pytest.fixture
def reward(base, tokenizer):
    return TransformerReward.from_base(base, ["kind", "brief", "loud"], tokenizer=tokenizer)


@pytest.fixture(scope="session")
def base_folder(base, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    base.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_completion(rng, length=None):
    return " " + " ".join(rng.choice(NICE + BAD + OTHER) for _ in range(length or rng.randint(2, 10)))


def true_scores(completion):
    """What the planted annotators want: kind words, few words, and 'very'-like loudness (red things)."""
    words = completion.split()
    kind = sum(word in NICE for word in words) - sum(word in BAD for word in words)
    return {"kind": float(kind), "brief": -float(len(words)), "loud": float(words.count("red") - words.count("sea"))}


def make_pairs(n, seed=0, missing=0.0):
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        a, b = random_completion(rng), random_completion(rng)
        truth_a, truth_b = true_scores(a), true_scores(b)
        labels = {}
        for name in truth_a:
            if truth_a[name] != truth_b[name] and rng.random() >= missing:
                labels[name] = float(truth_a[name] > truth_b[name])
            else:
                labels[name] = None
        rows.append({"prompt": "ask me :", "completion_a": a, "completion_b": b, "labels": labels})
    return rows
