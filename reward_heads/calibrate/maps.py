"""The increasing maps of one score that a calibration is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike

from frontier.errors import InputError
from reward_heads.diagnose.intervals import Floats, column


class ScoreMap(Protocol):
    """An increasing map of scores that JSON can hold."""

    method: ClassVar[str]

    def __call__(self, scores: Floats) -> Floats:
        """Scores of any shape, mapped; NaN stays NaN."""

    def to_json(self) -> dict[str, Any]:
        """Its method and fields."""


@dataclass(frozen=True)
class Cooled:
    """Scores divided by a temperature, so that a difference is in nats.

    Args:
        temperature (`float`): positive.

    Raises:
        InputError: it is not positive and finite.
    """

    method: ClassVar[str] = "temperature"
    temperature: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature must be positive and finite, found {self.temperature}")

    def __call__(self, scores: Floats) -> Floats:
        """Scores divided by the temperature."""
        return scores / self.temperature

    def to_json(self) -> dict[str, Any]:
        """Its method and temperature."""
        return {"method": self.method, "temperature": self.temperature}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Cooled":
        """From the fields of `to_json`."""
        return cls(float(fields["temperature"]))


@dataclass(frozen=True)
class Affine:
    """A line, such as Platt's log-odds or the least-squares line to ratings.

    Args:
        slope (`float`): positive: a calibration never turns a ranking round.
        offset (`float`): added.

    Raises:
        InputError: the slope is not positive, or a value is not finite.
    """

    method: ClassVar[str] = "affine"
    slope: float
    offset: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.slope, self.offset]).all() and self.slope > 0):
            raise InputError(f"slope must be positive, slope and offset finite; found {self.slope} and {self.offset}")

    def __call__(self, scores: Floats) -> Floats:
        """Scores on the line."""
        return self.slope * scores + self.offset

    def to_json(self) -> dict[str, Any]:
        """Its method, slope and offset."""
        return {"method": self.method, "slope": self.slope, "offset": self.offset}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Affine":
        """From the fields of `to_json`."""
        return cls(float(fields["slope"]), float(fields["offset"]))


@dataclass(frozen=True)
class Identity:
    """Scores as they are, for an objective without labels."""

    method: ClassVar[str] = "none"

    def __call__(self, scores: Floats) -> Floats:
        """Scores as they are."""
        return scores

    def to_json(self) -> dict[str, Any]:
        """Its method."""
        return {"method": self.method}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Identity":
        """It has no fields."""
        return cls()


def fit_line(scores: ArrayLike, ratings: ArrayLike, *, objective: str = "") -> Affine:
    """The least-squares line from scores to ratings.

    Args:
        scores (`ArrayLike`): `[N]`; NaN = not known.
        ratings (`ArrayLike`): `[N]`; NaN = missing.
        objective (`str`, *optional*): the name in messages.

    Raises:
        InputError: fewer than two scores differ, or the ratings don't rise with the scores.
    """
    s = column(scores, "scores")
    y = column(ratings, "ratings", len(s))
    used = ~(np.isnan(s) | np.isnan(y))
    s, y = s[used], y[used]
    if not len(s) or s.min() == s.max():
        raise InputError(
            f"objective '{objective}': {len(s)} rated completions without two different scores: nothing to fit"
        )
    centred = s - s.mean()
    slope = float(centred @ y / (centred @ centred))
    if not slope > 0:
        raise InputError(
            f"objective '{objective}' goes against its ratings (slope {slope:.3g}): check its sign, or leave it out"
        )
    return Affine(slope, float(y.mean() - slope * s.mean()))
