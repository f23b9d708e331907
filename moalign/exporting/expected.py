"""Say what a point that was exported can be expected to earn, from the front that was measured of the policy."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from frontier.choose import Interpolator
from frontier.choose.simplices import SAME
from frontier.errors import InputError
from frontier.front import ParetoFront
from moalign.preference import Preference

# Of the normal distribution, two-sided 95 %.
Z = 1.959964


@dataclass(frozen=True)
class Expected:
    """Expected mean rewards of one preference, maximised, with 95 % intervals.

    Args:
        rewards (`dict[str, float]`): by objective, in the front's units.
        error (`dict[str, float]`): by objective, one standard deviation: the noise of the measurement, and between points what interpolation may miss; NaN = not known.
        how (`str`): `measured`, `interpolated`, or `nearest`: the measured point nearest to weights that lie outside of all that was measured.
        reason (`str`): a sentence for a person.
        n_prompts (`int`): the fewest that a point behind it was measured on.
        units (`str`): what one unit of reward is.
    """

    rewards: dict[str, float]
    error: dict[str, float]
    how: str
    reason: str
    n_prompts: int
    units: str

    def interval(self, objective: str) -> tuple[float, float] | None:
        """Where the mean reward lies with 95 % confidence; `None` where the error is not known."""
        reward, error = self.rewards[objective], self.error[objective]
        return None if math.isnan(error) else (reward - Z * error, reward + Z * error)

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


class ExpectedRewards:
    """Look expected rewards up in a measured front; build it once for many preferences.

    Args:
        front (`ParetoFront`): of the policy that is exported.
    """

    def __init__(self, front: ParetoFront) -> None:
        self._front = front
        self._known = np.flatnonzero(~np.isnan(front.weights).any(axis=1))
        self._between = Interpolator(front) if self._known.size else None
        self._units = _units(front)

    def __call__(self, preference: Preference) -> Expected | None:
        """The expected rewards, `None` where the front says nothing: of a direction, of other objectives, of no weights at all.

        Args:
            preference (`Preference`): the point.
        """
        front = self._front
        named = {name: value for name, value in preference.values.items() if value}
        if self._between is None or preference.kind != "weights" or not set(named) <= set(front.objectives):
            return None
        try:
            found = self._between(named)
        except InputError as outside:
            return self._nearest(named, str(outside))
        rows = front.weights[list(found.neighbours)]
        measured, several = bool(np.ptp(rows, axis=0).max() <= SAME), len(found.neighbours) > 1
        points = ", ".join(str(i) for i in found.neighbours)
        return Expected(
            dict(zip(front.objectives, found.rewards, strict=True)),
            dict(zip(front.objectives, found.error, strict=True)),
            "measured" if measured else "interpolated",
            f"The mean of points {points}, measured at these weights." if measured and several else found.reason,
            min(front.points[i].n_prompts for i in found.neighbours),
            self._units,
        )

    def _nearest(self, named: dict[str, float], why: str) -> Expected:
        front = self._front
        asked = np.array([named.get(name, 0.0) for name in front.objectives])
        rows = front.weights[self._known]
        index = int(self._known[np.linalg.norm(rows - asked, axis=1).argmin()])
        point = front.points[index]
        there = ",".join(f"{n}={w:.4g}" for n, w in zip(front.objectives, front.weights[index], strict=True))
        return Expected(
            dict(zip(front.objectives, point.rewards, strict=True)),
            dict(zip(front.objectives, point.standard_error, strict=True)),
            "nearest",
            f"Of the nearest measured point, {there}, not of these weights: {why}.",
            point.n_prompts,
            self._units,
        )


def _units(front: ParetoFront) -> str:
    if front.normalizer is None:
        return "the rewards' own units"
    return f"rewards centred and scaled by {front.normalizer.get('source', 'the reference policy')}"
