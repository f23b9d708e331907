"""A tiny encoder beside the tiny decoder of the package, and embedders of both."""

import pytest
import torch
from transformers import BertConfig, BertModel

from reward_heads.probes import Embedder


def make_encoder(seed=0, hidden=32, layers=2):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=64,
        hidden_size=hidden,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
    )
    return BertModel(config)


@pytest.fixture
def encoder_folder(tmp_path, tokenizer):
    folder = tmp_path / "encoder"
    make_encoder().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def embedder(encoder_folder):
    return Embedder.from_pretrained(encoder_folder, batch_size=4)


class BagOfWords:
    """An embedder without a transformer: counts of a few words."""

    WORDS = ("good", "nice", "fine", "bad", "awful", "red", "sea", "cat", "sky", "ran", "very", "dog")
    width = len(WORDS) + 1
    fingerprint = "b" * 64

    def embed(self, prompts, completions):
        rows = [[float(c.split().count(word)) for word in self.WORDS] + [float(len(c.split()))] for c in completions]
        return torch.tensor(rows).reshape(-1, self.width)

    def embed_prompts(self, prompts):
        return self.embed(prompts, prompts)


@pytest.fixture
def bag_of_words():
    return BagOfWords()
