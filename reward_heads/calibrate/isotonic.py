r"""Map a score to the rating that such scores get, by any increasing curve instead of a line.

Isotonic regression ([Barlow et al., 1972](https://doi.org/10.1080/01621459.1972.10481216); for calibration [Zadrozny & Elkan, 2002](https://doi.org/10.1145/775047.775151); scikit-learn's
`IsotonicRegression` does the fit) is the increasing step curve with the least squared error. Two things make it fit for a reward:

- *Ties.* Steps are flat, so that completions which the head tells apart come out equal. Mixed with the least-squares line $\ell$,
  $f = (1 - \epsilon)\, \mathrm{iso} + \epsilon\, \ell$ is strictly increasing and keeps the ranking exactly; `strictness` 0 is the pure curve. How many distinct scores
  the pure curve would make equal is always reported, and how many still are once rounded to float32.
- *Beyond the data.* A policy that is trained on the reward leaves the range that was rated. A flat end would stop it there without saying so; here the curve goes on
  as the line does, with the slope of $\ell$.

Steps follow noise: with less than a few hundred ratings the line is as good, and safer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import IsotonicRegression

from frontier.errors import InputError
from reward_heads.calibrate.maps import fit_line
from reward_heads.diagnose.intervals import Floats, column


@dataclass(frozen=True)
class Isotonic:
    """A piecewise linear increasing map, straight beyond its ends.

    Args:
        x (`tuple[float, ...]`): at least one score, increasing.
        y (`tuple[float, ...]`): as many values, not decreasing.
        slope (`float`): beyond the first and the last score, positive.

    Raises:
        InputError: lengths differ, a value is not finite, or the map is not increasing.
    """

    method: ClassVar[str] = "isotonic"
    x: tuple[float, ...]
    y: tuple[float, ...]
    slope: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", tuple(float(value) for value in self.x))
        object.__setattr__(self, "y", tuple(float(value) for value in self.y))
        if not self.x or len(self.x) != len(self.y):
            raise InputError(f"isotonic: one value for each score, found {len(self.x)} scores and {len(self.y)} values")
        if not np.isfinite([*self.x, *self.y, self.slope]).all():
            raise InputError("isotonic: scores, values and slope must be finite")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.y) < 0).any() or not self.slope > 0:
            raise InputError("isotonic: scores must increase, values must not decrease, and the slope must be positive")

    def __call__(self, scores: Floats) -> Floats:
        """Scores of any shape, mapped; NaN stays NaN."""
        beyond = scores - np.clip(scores, self.x[0], self.x[-1])
        return np.interp(scores, self.x, self.y) + self.slope * beyond

    def to_json(self) -> dict[str, Any]:
        """Its method and fields."""
        return {"method": self.method, "x": list(self.x), "y": list(self.y), "slope": self.slope}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Isotonic":
        """From the fields of `to_json`."""
        return cls(tuple(fields["x"]), tuple(fields["y"]), float(fields["slope"]))


def fit_isotonic(scores: ArrayLike, ratings: ArrayLike, *, strictness: float = 0.05, objective: str = "") -> Isotonic:
    """Fit the curve to ratings.

    Args:
        scores (`ArrayLike`): `[N]`; NaN = not known.
        ratings (`ArrayLike`): `[N]`; NaN = missing.
        strictness (`float`, *optional*, defaults to 0.05): ε in [0, 1], the share of the line in the mixture; 0 makes ties.
        objective (`str`, *optional*): the name in messages.

    Raises:
        InputError: `strictness` is outside [0, 1], fewer than two scores differ, or the ratings don't rise with the scores.
    """
    if not 0 <= strictness <= 1:
        raise InputError(f"strictness must be in [0, 1], found {strictness}")
    s = column(scores, "scores")
    y = column(ratings, "ratings", len(s))
    line = fit_line(s, y, objective=objective)
    used = ~(np.isnan(s) | np.isnan(y))
    curve = IsotonicRegression().fit(s[used], y[used])
    # scikit-learn joins scores that are equal up to rounding; np.unique keeps the knots strictly increasing then.
    x, first = np.unique(curve.X_thresholds_, return_index=True)
    mixed = (1 - strictness) * curve.y_thresholds_[first] + strictness * line(x)
    return Isotonic(tuple(x), tuple(np.maximum.accumulate(mixed)), line.slope)


def collapsed(scores: Floats, mapped: Floats) -> int:
    """How many distinct scores a map makes equal to another one, in the float32 that rewards are passed on in."""
    known = ~np.isnan(scores)
    before = len(np.unique(scores[known].astype(np.float32)))
    return before - len(np.unique(mapped[known].astype(np.float32)))
