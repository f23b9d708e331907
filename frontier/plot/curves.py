"""Work out how a reward follows a weight: one curve with its band from all points of a front, whatever their other weights are."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from frontier.errors import InputError
from frontier.front import ParetoFront

MOST_LEVELS = 13  # more different weights than this are put into bins
BINS = 8


@dataclass(frozen=True)
class SteeringCurve:
    """The mean reward of one objective against the weight that was asked for one (the same or another).

    Args:
        weights (`NDArray`): `[m]`, rising: the levels of the weight, or the mean weight of each bin.
        means (`NDArray`): `[m]`, mean reward over the points at that level.
        low (`NDArray`), high (`NDArray`): `[m]`, 95 % interval of that mean over prompts; NaN = not known.
        counts (`NDArray`): `[m]`, how many points are at the level.
        binned (`bool`): whether weights were put into bins.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]
    binned: bool


def steering_curve(front: ParetoFront, reward: int, weight: int, level: float = 0.95) -> SteeringCurve:
    r"""Mean and interval of a reward at each level of a weight.

    Points with the same weight there (within 1e-9) are averaged; with more than 13 different weights, those of one of 8 equal bins are. The interval is Student's,
    $\bar r \pm t_{n-1} s$ with the n prompts that s rests on. The standard error s of an average over points comes from the average per prompt where the front kept its `prompt_rewards`; else it is the mean of
    their standard errors, which it can't exceed however the points are correlated.

    Args:
        front (`ParetoFront`): with weights in the preferences of some points.
        reward (`int`): the objective whose reward is meant, by place.
        weight (`int`): the objective whose weight is meant, by place.
        level (`float`, *optional*, defaults to 0.95): of the interval.

    Raises:
        InputError: no point has weights.
    """
    asked = front.weights[:, weight]
    known = np.flatnonzero(~np.isnan(asked))
    if not len(known):
        raise InputError("no point has weights in its preference, so there is no steering to draw")
    known = known[np.argsort(asked[known], kind="stable")]
    starts = np.flatnonzero(np.diff(asked[known], prepend=-np.inf) > 1e-9)
    binned = len(starts) > MOST_LEVELS
    if binned:
        low, high = asked[known[0]], asked[known[-1]]
        places = np.minimum((asked[known] - low) / (high - low) * BINS, BINS - 1).astype(int)
        starts = np.flatnonzero(np.diff(places, prepend=-1) > 0)
    groups = np.split(known, starts[1:])
    means = np.array([front.rewards[group, reward].mean() for group in groups])
    arms = np.array([_arm(front, group, reward, level) for group in groups])
    weights = np.array([asked[group].mean() for group in groups])
    counts = np.array([len(group) for group in groups])
    return SteeringCurve(weights, means, means - arms, means + arms, counts, binned)


def _arm(front: ParetoFront, group: NDArray[np.int64], reward: int, level: float) -> float:
    """Half the width of the interval of the average over a group of points."""
    kept = getattr(front, "prompt_rewards", None)
    rows = None if kept is None else kept.rewards[group, :, reward]
    # A standard error rests on the prompts whose reward is known, which may be fewer than the point has.
    n = min(front.points[i].n_prompts for i in group) if rows is None else int((~np.isnan(rows)).sum(axis=1).min())
    error = float(front.standard_errors[group, reward].mean())
    if rows is not None and len(group) > 1:
        averages = rows.mean(axis=0)[~np.isnan(rows).any(axis=0)]
        if len(averages) > 1:
            n, error = len(averages), float(averages.std(ddof=1)) / math.sqrt(len(averages))
    return float(stdtrit(n - 1, (1 + level) / 2)) * error if n > 1 else math.nan
