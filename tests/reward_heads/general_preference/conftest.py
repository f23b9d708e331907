"""Words as features, and pairs of rock, paper and scissors."""

import itertools

import pytest
import torch

KINDS = ("good", "bad", "cat")
BEATS = {("bad", "good"), ("cat", "bad"), ("good", "cat")}


class WordCounts:
    """Counts of three words; the prompt counts too."""

    width = 3
    fingerprint = "word counts"

    def embed(self, prompts, completions):
        return torch.tensor([[float(text.split().count(kind)) for kind in KINDS] for text in completions]).reshape(
            -1, 3
        )

    def embed_prompts(self, prompts):
        return self.embed(prompts, prompts)


@pytest.fixture
def source():
    return WordCounts()


@pytest.fixture
def pairs():
    """All pairs of two different kinds, each with 0 to 2 further words."""
    rows = []
    for a, b in itertools.permutations(KINDS, 2):
        for i, j in itertools.product(range(3), repeat=2):
            texts = {"completion_a": f" {a}" + " sky" * i, "completion_b": f" {b}" + " sea" * j}
            rows.append({"prompt": "ask me :", **texts, "labels": {"round": float((a, b) in BEATS)}})
    return rows
