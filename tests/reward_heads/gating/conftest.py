"""A world where prompts of two kinds want different things, and an encoder that a gate can be saved with."""

import pytest
import torch

from reward_heads import FunctionReward
from reward_heads.gating import GateConfig
from reward_heads.probes import Embedder

from ..probes.conftest import make_encoder

FAST = GateConfig(hidden=(16,), temperature=1.0, learning_rate=0.02, steps=150, check_every=10, patience=8)


class KindOfPrompt:
    """Whether a prompt asks about a cat or the sky, and a number of no meaning."""

    width = 3
    fingerprint = "k" * 64

    def __init__(self):
        self.embedded = []

    def embed_prompts(self, prompts):
        self.embedded += prompts
        return torch.tensor([["cat" in p, "sky" in p, len(p) % 7] for p in prompts], dtype=torch.float32).reshape(-1, 3)

    def embed(self, prompts, completions):
        raise AssertionError("a gate reads prompts alone")


@pytest.fixture
def kind_of_prompt():
    return KindOfPrompt()


def number(field):
    return lambda prompt, completion: float(completion.split()[field])


# Completions are texts of two numbers; the second is in units a hundred times as large.
REWARD = FunctionReward({"facts": number(0), "style": number(1)})


def planted_pairs(n, seed=0, strength=4.0, per_prompt=2):
    """Pairs of which only `facts` count for a cat, only `style` for the sky; labels are drawn. Also how often the planted gate orders them as labelled."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, 2, generator=generator)
    kind = torch.arange(n) // per_prompt % 2
    margins = strength * (a - b)[torch.arange(n), kind]
    labels = (torch.rand(n, generator=generator) < margins.sigmoid()).float()
    rows = [
        {
            "prompt": f"{('cat', 'sky')[kind[i]]} {i // per_prompt}",
            "completion_a": f"{a[i, 0]:.6f} {100 * a[i, 1]:.4f}",
            "completion_b": f"{b[i, 0]:.6f} {100 * b[i, 1]:.4f}",
            "labels": {"better": labels[i].item()},
        }
        for i in range(n)
    ]
    return rows, ((margins > 0) == (labels > 0.5)).float().mean().item()


@pytest.fixture
def encoder(tmp_path, tokenizer):
    folder = tmp_path / "encoder"
    make_encoder().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Embedder.from_pretrained(folder, batch_size=4)
