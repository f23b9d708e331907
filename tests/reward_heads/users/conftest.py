"""Users with planted tastes, as features and as texts."""

import random

import pytest
import torch

from reward_heads.users.observations import UserPairs

NICE, BAD = ("good", "nice", "fine"), ("bad", "awful")


def planted(pairs_per_user=30, users=12, minority=4, d=3, seed=0, size=2.0):
    """Differences of features `[N, d]`, labels and pairs: the first users want the first feature, the last `minority` its opposite and the second."""
    generator = torch.Generator().manual_seed(seed)
    n = pairs_per_user * users
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    user_of = torch.arange(n) % users
    tastes = torch.zeros(2, d, dtype=torch.float64)
    tastes[0, 0], tastes[1, 0], tastes[1, 1] = size, -size, size
    chance = torch.sigmoid((x * tastes[(user_of >= users - minority).long()]).sum(1))
    labels = (torch.rand(n, generator=generator, dtype=torch.float64) < chance).double()
    return x, UserPairs(tuple(f"u{i}" for i in range(users)), user_of, labels), tastes


def make_rows(pairs_per_user=24, users=9, minority=3, seed=0):
    """Rows in which most users like nice words and the last few like bad ones."""
    draw = random.Random(seed)
    rows = []
    for i in range(pairs_per_user * users):
        nice, bad = f" the cat {draw.choice(NICE)}", f" the dog {draw.choice(BAD)}"
        first = draw.random() < 0.5
        wants_nice = i % users < users - minority
        rows.append(
            {
                "prompt": "ask me :",
                "completion_a": nice if first else bad,
                "completion_b": bad if first else nice,
                "labels": {"liked": float(first == wants_nice)},
                "user": f"u{i % users}",
            }
        )
    return rows


@pytest.fixture(scope="session")
def plant():
    return planted


@pytest.fixture(scope="session")
def rows_of():
    return make_rows
