"""Take costs in as their negative, and notice a cost that was handed in as if more of it were better."""

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from frontier.errors import unknown_name
from frontier.measure import non_dominated

if TYPE_CHECKING:
    from frontier.front import ParetoFront

COST = re.compile(
    r"(^|[_\W])(loss|cost|latency|error|err|regret|seconds|ms|price|perplexity|ppl|toxicity|kl|divergence|violations?|refusals?|tokens|wer|cer|mse|mae|rmse)($|[_\W])"
)
FEWEST = 4  # Among three points a coincidence is too likely.


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; one alone may be given without a list."""
    return (names,) if isinstance(names, str) else tuple(names)


def maximised(values: NDArray[np.float64], objectives: Sequence[str], minimize: Sequence[str]) -> NDArray[np.float64]:
    """`[..., K]` with the objectives that are costs negated.

    Raises:
        InputError: `minimize` names what is no objective.
    """
    names = as_names(minimize)
    for name in names:
        if name not in objectives:
            raise unknown_name("objective in minimize", str(name), objectives)
    cost = np.array([name in names for name in objectives])
    return np.where(cost, 0.0 - values, values)  # 0 - 0 is 0, -(0) would be -0


def hint_at_costs(front: "ParetoFront", minimize: Sequence[str] = ()) -> None:
    """Warn when an objective of the front looks like a cost. See `cost_like`."""
    found = cost_like(front, minimize)
    if found:
        listed = "; ".join(f"{name} ({why})" for name, why in found.items())
        names = ", ".join(f"'{name}'" for name in found)
        warnings.warn(
            f"everything is maximised here, and this looks like a cost: {listed}. If less of it is better, pass minimize=({names},)",
            stacklevel=4,
        )


def cost_like(front: "ParetoFront", minimize: Sequence[str] = ()) -> dict[str, str]:
    """The objectives that look like costs, each with the reason.

    Three signs, each of which can mislead, so they are worth a hint and no more: the name of a cost over values that are never negative; a reward that falls as its own weight
    rises; an objective whose negation turns a set of points with hardly a trade-off into one where every point is one.
    """
    minimize = as_names(minimize)
    rewards, weights = front.rewards, front.weights
    steered = ~np.isnan(weights).any(axis=1)
    found: dict[str, str] = {}
    for k, name in enumerate(front.objectives):
        if name in minimize:
            continue
        column = rewards[:, k]
        if COST.search(name.lower()) and (column >= 0).all() and (column > 0).any():
            found[name] = "its name is that of a cost and no value is negative"
        elif steered.sum() >= FEWEST and _correlation(weights[steered, k], column[steered]) < -0.9:
            found[name] = "it falls as its weight rises"
        elif len(rewards) >= FEWEST and _trades_off_when_negated(rewards, k):
            found[name] = "it rises and falls with the others; its negative would trade off against them"
    return found


def _trades_off_when_negated(rewards: NDArray[np.float64], k: int) -> bool:
    distinct = np.unique(rewards, axis=0)
    if len(distinct) < FEWEST or rewards.shape[1] < 2:
        return False
    negated = distinct.copy()
    negated[:, k] *= -1
    return int(non_dominated(distinct).sum()) == 1 and bool(non_dominated(negated).all())


def _correlation(weights: NDArray[np.float64], rewards: NDArray[np.float64]) -> float:
    if np.ptp(weights) == 0 or np.ptp(rewards) == 0:
        return 0.0
    return float(np.corrcoef(weights, rewards)[0, 1])
