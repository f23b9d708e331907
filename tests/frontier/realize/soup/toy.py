"""Two quadratic rewards whose Pareto set over blocks is known in closed form."""

import numpy as np

from frontier import measure
from frontier.realize.soup import SoupSpace

NAMES = ("a", "b")
BLOCKS = ("layers 0-0", "layers 1-1", "head")
# How much each block matters to each reward.
FIRST, SECOND = np.array([4.0, 0.25, 1.0]), np.array([0.25, 4.0, 1.0])
PLACE = np.array([-6.0, -6.0])


def rewards(shares):
    """`[n, 3]` shares t of the first expert in each block to `[n, 2]`: -Σ α (1 - t)² and -Σ β t²."""
    shares = np.asarray(shares)
    return np.stack([-(FIRST * (1 - shares) ** 2).sum(-1), -(SECOND * shares**2).sum(-1)], -1)


def evaluate(soup):
    return rewards([soup.at_place(place)[0] for place in ("0", "1", "head")])


def best(weights):
    """`[n, 3]` shares that maximise w r_1 + (1 - w) r_2: wα / (wα + (1 - w)β), which is the Pareto set."""
    w = np.asarray(weights)[:, None]
    return w * FIRST / (w * FIRST + (1 - w) * SECOND)


def volume(points):
    return measure.hypervolume(np.asarray(points), PLACE)


GRID = np.linspace(0, 1, 401)
WHOLE = volume(rewards(best(GRID)))
ALIKE = volume(rewards(np.repeat(GRID[:, None], 3, 1)))
SPACE = SoupSpace(NAMES, BLOCKS)
