"""A reward whose scores are known, and labels drawn from planted probabilities."""

import numpy as np
import pytest
from scipy.special import expit

from reward_heads import FunctionReward


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    return {f"text{i}": rng.normal(size=3) for i in range(2000)}


@pytest.fixture(scope="module")
def reward(values):
    def head(k):
        return lambda prompt, completion: float(values[completion][k])

    return FunctionReward({"kind": head(0), "safe": head(1), "brief": head(2)})


@pytest.fixture(scope="module")
def rows(values):
    """`kind` is labelled in pairs with temperature 1/2, `safe` flagged with log-odds 2 s + 1, `brief` rated 3 + tanh."""
    rng = np.random.default_rng(1)
    names = list(values)
    found = []
    for i in range(1000):
        a, b = names[2 * i], names[2 * i + 1]
        label = float(rng.random() < expit(2 * (values[a][0] - values[b][0])))
        document = f"document{i // 2}"
        pair = {"completion_a": a, "completion_b": b, "labels": {"kind": label}}
        scores = {"safe": float(rng.random() < expit(2 * values[a][1] + 1))}
        scores["brief"] = 3 + np.tanh(values[a][2]) + 0.3 * rng.normal()
        found.append({"prompt": f"prompt{i}", "document": document, **pair})
        found.append({"prompt": f"prompt{i}", "document": document, "completion": a, "scores": scores})
    return found
