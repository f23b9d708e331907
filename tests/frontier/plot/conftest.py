import itertools

import numpy as np
import pytest

from frontier import FrontPoint, ParetoFront
from frontier.prompt_rewards import PromptRewards

NAMES = ("helpful", "brief", "warm & kind", "safe", "polite")


def lattice(k, parts):
    return [w for w in itertools.product(range(parts + 1), repeat=k) if sum(w) == parts]


@pytest.fixture
def make_front():
    """`make_front(k, parts=4, best=1.0)`: steered points on a concave front and one dominated point without weights or standard errors."""

    def make(k, parts=4, best=1.0):
        points = []
        for w in np.array(lattice(k, parts)) / parts:
            asked = {"weights": dict(zip(NAMES, w.tolist(), strict=False))}
            said = f"</script><b>asked {w[0]:.2f}</b> & more"
            points.append(FrontPoint(best * np.sqrt(w + 0.01), [0.02] * k, 32, asked, kl=1.0, extra={"sample": said}))
        points.append(FrontPoint([-0.5] * k, [np.nan] * k, 32))
        return ParetoFront(NAMES[:k], tuple(points), FrontPoint([0.0] * k, [0.01] * k, 32, kl=0.0))

    return make


@pytest.fixture
def measured():
    """`measured(k, seed)`: steered points on a concave front with their rewards on every prompt."""

    def make(k, seed, best=1.0, n=30, prompts="p"):
        weights = np.array(lattice(k, 3)) / 3
        noise = np.random.default_rng(seed).normal(0, 0.05, (len(weights), n, k))
        kept = PromptRewards(
            NAMES[:k], best * np.sqrt(weights + 0.01)[:, None] + noise, [f"{prompts}{j}" for j in range(n)]
        )
        asked = [{"weights": dict(zip(NAMES, w, strict=False))} for w in weights.tolist()]
        return ParetoFront.of_prompt_rewards(kept, preferences=asked)

    return make
