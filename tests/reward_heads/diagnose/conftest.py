"""Rewards whose scores are looked up, and rows of them."""

import numpy as np
import pytest
import torch

from reward_heads.diagnose import score_rows


class Lookup:
    """Scores by completion; anything missing is NaN."""

    def __init__(self, objectives, values):
        self.objectives, self.values = tuple(objectives), values

    def score(self, prompts, completions):
        missing = [float("nan")] * len(self.objectives)
        return torch.tensor([list(map(float, self.values.get(c, missing))) for c in completions]).reshape(
            -1, len(self.objectives)
        )


@pytest.fixture(scope="session")
def lookup():
    return Lookup


@pytest.fixture
def world():
    """`make(n, mix)`: pairs with two completions per prompt, two heads with correlated scores, labels drawn from the first."""

    def make(n=200, correlation=0.0, seed=0, users=1):
        rng = np.random.default_rng(seed)
        first = rng.normal(size=2 * n)
        second = correlation * first + np.sqrt(1 - correlation**2) * rng.normal(size=2 * n)
        values = {f"t{i}": (first[i], second[i]) for i in range(2 * n)}
        rows = []
        for i in range(n):
            a, b = f"t{2 * i}", f"t{2 * i + 1}"
            chances = 1 / (1 + np.exp(-np.array(values[a]) + np.array(values[b])))
            labels = dict(zip(("x", "y"), (rng.random(2) < chances).astype(float).tolist(), strict=True))
            rows.append(
                {"prompt": f"p{i}", "completion_a": a, "completion_b": b, "labels": labels, "user": f"u{i % users}"}
            )
        return score_rows(Lookup(("x", "y"), values), rows)

    return make
