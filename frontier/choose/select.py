"""Pick one point of a measured front for someone who knows what they want, and say in a sentence why it is this one.

Three ways to want: the best on something while something else stays good enough; as close as possible to (or as far as possible beyond) a wish for each
objective; or the knee, where the trade-off turns. When nothing satisfies the constraints the answer is the point that comes nearest, and says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from frontier.choose.knee import find_knee
from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront
from frontier.measure import non_dominated

# Breaks ties between points that fall short by the same amount in their worst objective; small enough to decide nothing else.
AUGMENTATION = 1e-4


@dataclass(frozen=True)
class Selection:
    """The chosen point and why.

    Args:
        point (`FrontPoint`): the choice.
        index (`int`): its place in `front.points`.
        feasible (`bool`): whether it meets every constraint (or, with `aspire`, reaches every aspiration).
        reason (`str`): one or two sentences for a person.
        violations (`dict[str, float]`): of each objective whose constraint or aspiration is missed, by how much, in reward units; empty when feasible.
    """

    point: FrontPoint
    index: int
    feasible: bool
    reason: str
    violations: dict[str, float] = field(default_factory=dict)


def pick(
    front: ParetoFront,
    *,
    minimum: Mapping[str, float] | None = None,
    maximum: Mapping[str, float] | None = None,
    maximize: str | Mapping[str, float] | None = None,
    aspire: Mapping[str, float] | None = None,
    knee: bool = False,
    confidence: float | None = None,
    non_dominated_only: bool = True,
) -> Selection:
    r"""Pick a point. Give `maximize` (with `minimum` and `maximum` as constraints, or not), or `aspire`, or `knee=True`; or constraints alone.

    Args:
        front (`ParetoFront`): what there is to choose from.
        minimum (`Mapping[str, float]`, *optional*): the least mean reward, of each named objective.
        maximum (`Mapping[str, float]`, *optional*): the largest mean reward, where more is not wanted.
        maximize (`str` or `Mapping[str, float]`, *optional*): an objective, or non-negative weights of several, in the units of the front; the best point on it among those that
            satisfy the constraints. With constraints alone, all objectives weigh the same.
        aspire (`Mapping[str, float]`, *optional*): a wished mean reward $a_k$ per named objective. The point maximises the achievement scalarizing function
            ([Wierzbicki, 1980](https://doi.org/10.1007/978-3-642-48782-8_32)) over them,
            $\min_k (r_k - a_k)/\rho_k + 10^{-4} \sum_k (r_k - a_k)/\rho_k$, with $\rho_k$ the range of objective k over the front.
        knee (`bool`, *optional*): the point furthest beyond the hyperplane through the extreme points (see `frontier.choose.knee`).
        confidence (`float`, *optional*): between 0.5 and 1: constraints must hold for the one-sided confidence bound of the mean, $r_k - t \cdot se_k$ for a minimum and
            $r_k + t \cdot se_k$ for a maximum, with Student's $t$ on `n_prompts` - 1 degrees of freedom. Default: for the measured mean itself. The bound holds for one
            point taken alone, not for the best of many.
        non_dominated_only (`bool`, *optional*, defaults to `True`): leave out points that another *admissible* point dominates. (Under a `maximum` a point may be dominated only by
            points that break it; such a point stays.)

    Raises:
        InputError: an objective is unknown, a number is not finite, a minimum lies above its maximum, the ways to choose are mixed or none is given, or `confidence` is
            asked for where a standard error is not known.
    """
    ways = [
        n for n, given in (("maximize", maximize is not None), ("aspire", aspire is not None), ("knee", knee)) if given
    ]
    constrained = minimum is not None or maximum is not None
    if len(ways) > 1 or (constrained and ways not in ([], ["maximize"])):
        given = [*ways, *(n for n, c in (("minimum", minimum), ("maximum", maximum)) if c is not None)]
        raise InputError(
            f"choose one way: maximize (with minimum and maximum), aspire, or knee; found {' and '.join(given)}"
        )
    if not ways and not constrained:
        raise InputError("say what to choose by: maximize (with minimum and maximum), aspire, or knee")
    if confidence is not None and not constrained:
        raise InputError("confidence applies to minimum and maximum, and neither is given")
    if knee:
        return _at_knee(front)
    if aspire is not None:
        return _nearest_to_wish(front, _by_column(front, "aspire", aspire), non_dominated_only)
    return _best_within(front, minimum, maximum, maximize, confidence, non_dominated_only)


def _best_within(
    front: ParetoFront,
    minimum: Mapping[str, float] | None,
    maximum: Mapping[str, float] | None,
    maximize: str | Mapping[str, float] | None,
    confidence: float | None,
    non_dominated_only: bool,
) -> Selection:
    low = _by_column(front, "minimum", minimum or {}, -math.inf)
    high = _by_column(front, "maximum", maximum or {}, math.inf)
    for k in np.flatnonzero(low > high):
        raise InputError(f"the minimum {low[k]:g} of {front.objectives[k]} lies above its maximum {high[k]:g}")
    score, goal = _score(front, maximize)
    slack = _slack(front, np.isfinite(low) | np.isfinite(high), confidence)
    rewards = front.rewards
    shortfall = np.maximum(0.0, np.maximum(low - (rewards - slack), (rewards + slack) - high))
    wanted = _wanted(front, minimum or {}, maximum or {}, confidence)

    admissible = np.flatnonzero((shortfall == 0).all(axis=1))
    if admissible.size == 0:
        total = (shortfall / _ranges(front)).sum(axis=1)
        index = int(np.lexsort((-score, total))[0])
        violations = _named(front, shortfall[index])
        missed = _missed(front, index, violations, slack[index], minimum or {}, confidence)
        reason = f"No point satisfies {wanted}. Point {index} comes nearest: {missed}."
        return Selection(front.points[index], index, False, reason, violations)
    if non_dominated_only:
        admissible = admissible[non_dominated(rewards[admissible])]
    index = int(admissible[np.argmax(score[admissible])])
    among = f"Among the points that satisfy {wanted}" if wanted else f"Of {len(front.points)} points"
    reason = f"{among}, point {index} is the best on {goal}: {_described(front, index)}."
    return Selection(front.points[index], index, True, reason)


def _nearest_to_wish(front: ParetoFront, wish: NDArray[np.float64], non_dominated_only: bool) -> Selection:
    columns = np.flatnonzero(np.isfinite(wish))
    surplus = (front.rewards[:, columns] - wish[columns]) / _ranges(front)[columns]
    achievement = surplus.min(axis=1) + AUGMENTATION * surplus.sum(axis=1)
    candidates = np.flatnonzero(front.non_dominated_mask()) if non_dominated_only else np.arange(len(front.points))
    index = int(candidates[np.argmax(achievement[candidates])])
    shortfall = np.maximum(0.0, np.where(np.isfinite(wish), wish - front.rewards[index], 0.0))
    violations = _named(front, shortfall)
    if not violations:
        reason = f"Point {index} reaches every aspiration and goes furthest beyond the one it exceeds least"
    else:
        by = " and ".join(f"{name} by {amount:.3g}" for name, amount in violations.items())
        reason = f"No point reaches every aspiration. Point {index} comes nearest, missing {by}"
    return Selection(front.points[index], index, not violations, f"{reason}: {_described(front, index)}.", violations)


def _at_knee(front: ParetoFront) -> Selection:
    candidates = np.flatnonzero(front.non_dominated_mask())
    found = find_knee(front.rewards[candidates])
    index = int(candidates[found.row])
    return Selection(front.points[index], index, True, f"Point {index} {found.why}: {_described(front, index)}.")


def _by_column(
    front: ParetoFront, what: str, named: Mapping[str, float], missing: float = math.nan
) -> NDArray[np.float64]:
    """`[K]` values in objective order, `missing` where an objective isn't named."""
    values = np.full(len(front.objectives), missing)
    for name, value in named.items():
        if name not in front.objectives:
            raise unknown_name("objective", name, front.objectives)
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise InputError(f"{what} of {name} must be a finite number, found {value!r}")
        values[front.objectives.index(name)] = value
    if what == "aspire" and not named:
        raise InputError("aspire needs at least one objective")
    return values


def _score(front: ParetoFront, maximize: str | Mapping[str, float] | None) -> tuple[NDArray[np.float64], str]:
    """`[n]` what is to be maximised, and its name in a sentence."""
    if maximize is None:
        return front.rewards.mean(axis=1), "the plain mean of all objectives, as no other goal was given"
    if isinstance(maximize, str):
        return front.rewards @ _by_column(front, "maximize", {maximize: 1.0}, 0.0), maximize
    weights = _by_column(front, "maximize", maximize, 0.0)
    if (weights < 0).any() or not weights.any():
        raise InputError(f"maximize needs weights that are not negative and not all 0, found {dict(maximize)}")
    return front.rewards @ weights, " + ".join(f"{w:g} {name}" for name, w in maximize.items())


def _ranges(front: ParetoFront) -> NDArray[np.float64]:
    """`[K]` range of each objective over the front; 1 where all points agree."""
    extent = np.ptp(front.rewards, axis=0)
    return np.where(extent > 0, extent, 1.0)


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


def _named(front: ParetoFront, shortfall: NDArray[np.float64]) -> dict[str, float]:
    return {name: float(s) for name, s in zip(front.objectives, shortfall, strict=True) if s > 0}


def _wanted(
    front: ParetoFront, minimum: Mapping[str, float], maximum: Mapping[str, float], confidence: float | None
) -> str:
    parts = [f"{name} >= {minimum[name]:g}" for name in front.objectives if name in minimum]
    parts += [f"{name} <= {maximum[name]:g}" for name in front.objectives if name in maximum]
    surely = f" with {confidence:.0%} confidence" if confidence is not None else ""
    return " and ".join(parts) + (surely if parts else "")


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
        bound = f" ({confidence:.0%} bound {mean - slack[k] if below else mean + slack[k]:.3f})" if confidence else ""
        parts.append(f"{name} is {mean:.3f}{bound}, which is {amount:.3g} too {'little' if below else 'much'}")
    return " and ".join(parts)


def _described(front: ParetoFront, index: int) -> str:
    point = front.points[index]
    values = zip(front.objectives, point.rewards, point.standard_error, strict=True)
    return ", ".join(f"{n} {r:.3f}" + ("" if math.isnan(s) else f" ± {s:.3f}") for n, r, s in values)
