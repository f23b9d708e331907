"""Choose the best point on something while everything else stays good enough, or say which point comes nearest and what it misses."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from frontier.choose.selection import Selection, by_column, described, positive_weights, ranges, shortfalls
from frontier.errors import InputError
from frontier.front import ParetoFront
from frontier.measure import non_dominated


def best_within(
    front: ParetoFront,
    minimum: Mapping[str, float] | None,
    maximum: Mapping[str, float] | None,
    maximize: str | Mapping[str, float] | None,
    confidence: float | None = None,
    non_dominated_only: bool = True,
) -> Selection:
    """The best point on `maximize` among those that satisfy the constraints; when none does, the one whose misses, in units of the ranges, sum to least.

    Args:
        front (`ParetoFront`): what there is to choose from, maximised.
        minimum (`Mapping[str, float]`, *optional*): the least mean reward, of each named objective.
        maximum (`Mapping[str, float]`, *optional*): the largest mean reward.
        maximize (`str` or `Mapping[str, float]`, *optional*): an objective or non-negative weights; by default all objectives weigh the same.
        confidence (`float`, *optional*): from 0.5 to below 1: the constraints must hold for the one-sided bound by Student's t.
        non_dominated_only (`bool`, *optional*, defaults to `True`): leave out points that another admissible point dominates.

    Raises:
        InputError: an objective is unknown, a number is not finite, a minimum lies above its maximum, weights are negative, or a confidence is asked for
        without standard
            errors.
    """
    low = by_column(front, "minimum", minimum or {}, -math.inf)
    high = by_column(front, "maximum", maximum or {}, math.inf)
    for k in np.flatnonzero(low > high):
        raise InputError(f"the minimum {low[k]:g} of {front.objectives[k]} lies above its maximum {high[k]:g}")
    score, goal = _score(front, maximize)
    slack = _slack(front, np.isfinite(low) | np.isfinite(high), confidence)
    rewards = front.rewards
    shortfall = np.maximum(0.0, np.maximum(low - (rewards - slack), (rewards + slack) - high))
    wanted = _wanted(front, minimum or {}, maximum or {}, confidence)

    admissible = np.flatnonzero((shortfall == 0).all(axis=1))
    if admissible.size == 0:
        total = (shortfall / ranges(rewards)).sum(axis=1)
        index = int(np.lexsort((-score, total))[0])
        violations = shortfalls(front, shortfall[index])
        missed = _missed(front, index, violations, slack[index], minimum or {}, confidence)
        reason = f"No point satisfies {wanted}. Point {index} comes nearest: {missed}."
        return Selection(front.points[index], index, False, reason, violations)
    if non_dominated_only:
        admissible = admissible[non_dominated(rewards[admissible])]
    index = int(admissible[np.argmax(score[admissible])])
    among = f"Among the points that satisfy {wanted}" if wanted else f"Of {len(front.points)} points"
    reason = f"{among}, point {index} is the best on {goal}: {described(front, index)}."
    return Selection(front.points[index], index, True, reason)


def _score(front: ParetoFront, maximize: str | Mapping[str, float] | None) -> tuple[NDArray[np.float64], str]:
    """`[n]` what is to be maximised, and its name in a sentence."""
    if maximize is None:
        return front.rewards.mean(axis=1), "the plain mean of all objectives, as no other goal was given"
    if isinstance(maximize, str):
        return front.rewards @ by_column(front, "maximize", {maximize: 1.0}, 0.0), maximize
    weights = positive_weights(front, "maximize", maximize)
    return front.rewards @ weights, " + ".join(f"{w:g} {name}" for name, w in maximize.items())


def _slack(front: ParetoFront, constrained: NDArray[np.bool_], confidence: float | None) -> NDArray[np.float64]:
    """`[n, K]` how far the confidence bound lies from the mean; 0 without a confidence and for objectives without a constraint."""
    slack = np.zeros((len(front.points), len(front.objectives)))
    if confidence is None:
        return slack
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence must be at least 0.5 and below 1, found {confidence}")
    from scipy.stats import t  # slow to import, and only asked for with a confidence

    for i, point in enumerate(front.points):
        errors = np.array(point.standard_error)[constrained]
        if point.n_prompts < 2 or np.isnan(errors).any():
            raise InputError(f"confidence needs standard errors, and point {i} ({point.n_prompts} prompts) has none")
        slack[i, constrained] = t.ppf(confidence, point.n_prompts - 1) * errors
    return slack


def _wanted(
    front: ParetoFront, minimum: Mapping[str, float], maximum: Mapping[str, float], confidence: float | None
) -> str:
    parts = [f"{name} >= {minimum[name]:g}" for name in front.objectives if name in minimum]
    parts += [f"{name} <= {maximum[name]:g}" for name in front.objectives if name in maximum]
    surely = f" with {_percent(confidence)} confidence" if confidence is not None else ""
    return " and ".join(parts) + (surely if parts else "")


def _percent(confidence: float) -> str:
    """With the digits that it was given with: 99.5% is not 100%."""
    return f"{100 * confidence:.10g}%"


def _missed(
    front: ParetoFront,
    index: int,
    violations: Mapping[str, float],
    slack: NDArray[np.float64],
    minimum: Mapping[str, float],
    confidence: float | None,
) -> str:
    parts = []
    for name, amount in violations.items():
        k = front.objectives.index(name)
        mean = front.points[index].rewards[k]
        below = name in minimum and mean - slack[k] < minimum[name]
        bound = (
            f" ({_percent(confidence)} bound {mean - slack[k] if below else mean + slack[k]:.3f})" if confidence else ""
        )
        parts.append(f"{name} is {mean:.3f}{bound}, which is {amount:.3g} too {'little' if below else 'much'}")
    return " and ".join(parts)
