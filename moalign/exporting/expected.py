"""Say what a preference can be expected to earn, from the front that was measured of the policy: for cards of exports and for clients of a server."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frontier.choose import Interpolator
from frontier.choose.simplices import SAME
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from moalign.preference import Preference

# Of the intervals of mean rewards.
LEVEL = 0.95
# A preference this near to a measured one in every value is that one: people round thirds and the components of directions.
ROUNDED = 1e-3


@dataclass(frozen=True)
class Expected:
    """Expected mean rewards of one preference, maximised, with 95 % intervals by Student's t.

    Args:
        rewards (`dict[str, float]`): by objective, in the front's units.
        error (`dict[str, float]`): by objective, one standard deviation: the noise of the measurement, and between points what interpolation may miss; NaN = not known.
        how (`str`): `measured`, `interpolated`, or `nearest`: the measured point nearest to a preference that lies outside of all that was measured.
        reason (`str`): a sentence for a person.
        n_prompts (`int`): the fewest that a point behind it was measured on.
        units (`str`): what one unit of reward is.
        points (`tuple[int, ...]`): the places in the front of the points behind it.
    """

    rewards: dict[str, float]
    error: dict[str, float]
    how: str
    reason: str
    n_prompts: int
    units: str
    points: tuple[int, ...] = ()

    def interval(self, objective: str) -> tuple[float, float] | None:
        """Where the mean reward lies with 95 % confidence; `None` where the error is not known, or one prompt tells no spread."""
        # Both errors together are about one standard deviation, known no better than at the point with the fewest prompts.
        reward, end = self.rewards[objective], _width(self.n_prompts) * self.error[objective]
        return (reward - end, reward + end) if math.isfinite(end) else None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; an interval that is not known is null."""
        intervals = {name: self.interval(name) for name in self.rewards}
        return {
            "rewards": self.rewards,
            "interval_95": {name: None if found is None else list(found) for name, found in intervals.items()},
            "how": self.how,
            "reason": self.reason,
            "n_prompts": self.n_prompts,
            "units": self.units,
        }


def measured(front: ParetoFront, point: FrontPoint, how: str = "measured", reason: str = "Measured.") -> Expected:
    """What was measured at a point of the front, or of its reference policy."""
    return Expected(
        dict(zip(front.objectives, point.rewards, strict=True)),
        dict(zip(front.objectives, point.standard_error, strict=True)),
        how,
        reason,
        point.n_prompts,
        _units(front),
        tuple(i for i, other in enumerate(front.points) if other is point),
    )


class ExpectedRewards:
    """Look expected rewards up in a measured front; build it once for many preferences.

    Args:
        front (`ParetoFront`): of the policy.
        objectives (`Sequence[str]`, *optional*): the policy's, where the front may have others.
    """

    def __init__(self, front: ParetoFront, objectives: Sequence[str] | None = None) -> None:
        self._front = front
        self._objectives = tuple(front.objectives if objectives is None else objectives)
        self._preferences = [_preference(point, self._objectives) for point in front.points]
        known = not np.isnan(front.weights).any(axis=1).all()
        self._between = Interpolator(front) if known else None

    def __call__(self, preference: Preference) -> Expected | None:
        """The expected rewards, of the nearest measured point where the weights lie outside of those; `None` where the front says nothing: of a direction that was not
        measured, of other objectives, of no weights at all.

        Args:
            preference (`Preference`): the point.
        """
        try:
            return self.within(preference)
        except InputError as outside:
            named = {name for name, value in preference.values.items() if value}
            if self._between is None or preference.kind != "weights" or not named <= set(self._front.objectives):
                return None
            return self.nearest(preference, str(outside))

    def within(self, preference: Preference) -> Expected:
        """The expected rewards at a measured preference (to within 0.001), or between the points around it.

        Raises:
            InputError: it lies outside of what was measured, or is a direction that was not.
        """
        front = self._front
        away = [self._away(known, preference) for known in self._preferences]
        row = min(range(len(away)), key=away.__getitem__)
        at = self._preferences[row] if away[row] <= ROUNDED else None
        if at is not None:
            again = [i for i, known in enumerate(self._preferences) if self._away(known, at) <= SAME]
            if len(again) == 1 or at.kind != "weights" or self._between is None:
                return measured(front, front.points[row], reason=f"Measured as point {row}.")
        elif preference.kind != "weights":
            raise InputError("a direction has expected rewards only where it was measured; choose one of the front's")
        elif self._between is None:
            raise InputError(
                "no point of the front was measured at weights, so there is nothing to interpolate between"
            )
        asked = preference if at is None else at
        found = self._between({name: value for name, value in asked.values.items() if value})
        here = bool(np.ptp(front.weights[list(found.neighbours)], axis=0).max() <= SAME)
        points = ", ".join(str(i) for i in found.neighbours)
        return Expected(
            dict(zip(front.objectives, found.rewards, strict=True)),
            dict(zip(front.objectives, found.error, strict=True)),
            "measured" if here else "interpolated",
            f"The mean of points {points}, measured at these weights."
            if here and len(found.neighbours) > 1
            else found.reason,
            min(front.points[i].n_prompts for i in found.neighbours),
            _units(front),
            tuple(found.neighbours),
        )

    def nearest(self, preference: Preference, why: str = "it was not measured") -> Expected:
        """What was measured at the point that is most alike, wherever the preference lies.

        Args:
            preference (`Preference`): asked for.
            why (`str`, *optional*): it is not within what was measured.
        """
        asked = self._values(preference)
        known = [(i, self._values(found)) for i, found in enumerate(self._preferences) if found is not None]
        # Weights and directions differ in length, not in what they are after.
        index, values = min(known, key=lambda one: float(np.linalg.norm(_unit(one[1]) - _unit(asked))))
        there = ",".join(f"{n}={w:.4g}" for n, w in zip(self._objectives, values, strict=True))
        reason = f"Of the nearest measured point, {there}, not of these {preference.kind}: {why}."
        return measured(self._front, self._front.points[index], "nearest", reason)

    def _away(self, known: Preference | None, preference: Preference) -> float:
        """The largest difference in a value; infinite between weights and a direction."""
        if known is None or known.kind != preference.kind:
            return math.inf
        names = {*known.values, *preference.values}
        return max(abs(known.values.get(name, 0.0) - preference.values.get(name, 0.0)) for name in names)

    def _values(self, preference: Preference) -> "np.ndarray[Any, Any]":
        return np.array([preference.values.get(name, 0.0) for name in self._objectives])


def _preference(point: FrontPoint, objectives: Sequence[str]) -> Preference | None:
    if point.preference is None:
        return None
    try:
        return Preference.from_json(point.preference, objectives)
    except InputError:
        return None


def _unit(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    return values / np.linalg.norm(values)


def _width(n_prompts: int) -> float:
    """Half an interval in standard errors, by Student's t; NaN where one prompt tells no spread."""
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, n_prompts - 1)) if n_prompts > 1 else math.nan


def _units(front: ParetoFront) -> str:
    if front.normalizer is None:
        return "the rewards' own units"
    return f"rewards centred and scaled by {front.normalizer.get('source', 'the reference policy')}"
