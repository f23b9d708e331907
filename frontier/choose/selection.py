"""What every way of choosing gives back, and how it words it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront
from frontier.measure.rows import spans


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


def by_column(
    front: ParetoFront, what: str, named: Mapping[str, float], missing: float = math.nan
) -> NDArray[np.float64]:
    """`[K]` values in objective order, `missing` where an objective isn't named.

    Args:
        front (`ParetoFront`): whose objectives may be named.
        what (`str`): what the values are, as it should read in a message: `"minimum"`.
        named (`Mapping[str, float]`): the values.
        missing (`float`, *optional*): stands for an objective that is not named.

    Raises:
        InputError: an objective is unknown or a value is not a finite number.
    """
    values = np.full(len(front.objectives), missing)
    for name, value in named.items():
        if name not in front.objectives:
            raise unknown_name("objective", name, front.objectives)
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise InputError(f"{what} of {name} must be a finite number, found {value!r}")
        values[front.objectives.index(name)] = value
    return values


def positive_weights(front: ParetoFront, what: str, named: Mapping[str, float]) -> NDArray[np.float64]:
    """`[K]` weights that are not negative and not all 0; an objective that isn't named has 0.

    Raises:
        InputError: an objective is unknown, a weight is negative or not finite, or all are 0.
    """
    weights = by_column(front, what, named, 0.0)
    if (weights < 0).any() or not weights.any():
        raise InputError(f"{what} needs weights that are not negative and not all 0, found {dict(named)}")
    return weights


def candidates(front: ParetoFront, non_dominated_only: bool) -> NDArray[np.intp]:
    """The rows of the front that may be chosen."""
    return np.flatnonzero(front.non_dominated_mask()) if non_dominated_only else np.arange(len(front.points))


def ranges(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[K]` range of each objective over `[n, K]` rewards; 1 where all agree (up to rounding, see `frontier.measure.rows.spans`)."""
    extent = spans(rewards)
    return np.where(extent > 0, extent, 1.0)


def shortfalls(front: ParetoFront, shortfall: NDArray[np.float64]) -> dict[str, float]:
    """The shortfalls above 0, by objective."""
    return {name: float(s) for name, s in zip(front.objectives, shortfall, strict=True) if s > 0}


def listed(front: ParetoFront, values: NDArray[np.float64], form: str = "g") -> str:
    """`"helpful 0.7, safe 0.3"`."""
    return ", ".join(f"{name} {value:{form}}" for name, value in zip(front.objectives, values, strict=True))


def described(front: ParetoFront, index: int) -> str:
    """`"helpful 0.800 ± 0.020, safe 0.600 ± 0.020"`, the mean rewards of a point with their standard errors where they are known."""
    point = front.points[index]
    values = zip(front.objectives, point.rewards, point.standard_error, strict=True)
    return ", ".join(f"{n} {r:.3f}" + ("" if math.isnan(s) else f" ± {s:.3f}") for n, r, s in values)
