r"""Turn score differences into preference probabilities by any increasing curve, the same for (a, b) and (b, a).

A temperature assumes that probabilities are logistic in Δ; here they are any increasing function with

$$ f(\Delta) + f(-\Delta) = 1, $$

fitted by isotonic regression to every pair and its mirror image. Such an f is in general *not* a map of single scores (P(a ≻ b) = σ(g(a) − g(b)) for a curve g would make f depend on where
a and b lie), so it is no transform: it gives probabilities, for reports, for weights of a loss and for the choice of what to label next.

Steps are flat and their ends are 0 and 1. Mixed with the fitted temperature, $f = (1 - \epsilon)\, \mathrm{iso}(\Delta) + \epsilon\, \sigma(\Delta/T)$ is strictly increasing, defined beyond
the data, and never certain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from frontier.errors import InputError, unknown_name
from reward_heads.calibrate.temperature import fit_temperature
from reward_heads.diagnose.intervals import Floats, column

_FIELDS = ("x", "p", "temperature", "strictness")


@dataclass(frozen=True)
class PairCalibrator:
    """P(a ≻ b) as an antisymmetric increasing function of the score difference.

    Args:
        x (`tuple[float, ...]`): knots, increasing from 0.
        p (`tuple[float, ...]`): probabilities there, from 1/2 up, not decreasing; constant beyond the last.
        temperature (`float`): of the logistic part.
        strictness (`float`): ε in [0, 1], the share of the logistic part.

    Raises:
        InputError: a field is out of range.
    """

    x: tuple[float, ...]
    p: tuple[float, ...]
    temperature: float
    strictness: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", tuple(float(value) for value in self.x))
        object.__setattr__(self, "p", tuple(float(value) for value in self.p))
        if not self.x or len(self.x) != len(self.p) or self.x[0] != 0 or self.p[0] != 0.5:
            raise InputError("pair calibrator: x and p must be of one length and begin at 0 and 0.5")
        if (np.diff(self.x) <= 0).any() or (np.diff(self.p) < 0).any() or not self.p[-1] <= 1:
            raise InputError("pair calibrator: x must increase and p must not decrease, up to 1")
        if not (np.isfinite([*self.x, *self.p, self.temperature]).all() and self.temperature > 0):
            raise InputError("pair calibrator: values must be finite and the temperature positive")
        if not 0 <= self.strictness <= 1:
            raise InputError(f"strictness must be in [0, 1], found {self.strictness}")

    def __call__(self, differences: ArrayLike) -> Floats:
        """`[N]` score differences to `[N]` probabilities that a is better; NaN stays NaN."""
        d = column(differences, "differences")
        size = np.abs(d)
        sure = (1 - self.strictness) * np.interp(size, self.x, self.p) + self.strictness * expit(
            size / self.temperature
        )
        return np.where(d < 0, 1 - sure, sure)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`PairCalibrator.from_json`] reads it back exactly."""
        return {"x": list(self.x), "p": list(self.p), "temperature": self.temperature, "strictness": self.strictness}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PairCalibrator":
        """Read what [`PairCalibrator.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        for name in data:
            if name not in _FIELDS:
                raise unknown_name("field of a pair calibrator", name, _FIELDS)
        missing = [name for name in _FIELDS if name not in data]
        if missing:
            raise InputError(f"pair calibrator: field '{missing[0]}' is missing; it needs {', '.join(_FIELDS)}")
        return cls(tuple(data["x"]), tuple(data["p"]), float(data["temperature"]), float(data["strictness"]))


def fit_pair_calibrator(
    differences: ArrayLike, labels: ArrayLike, *, strictness: float = 0.05, objective: str = ""
) -> PairCalibrator:
    """Fit the curve to labelled pairs.

    Args:
        differences (`ArrayLike`): `[N]`, score of a minus score of b; NaN = not known.
        labels (`ArrayLike`): `[N]`, probability that a is better (0.5 = tie); NaN = missing.
        strictness (`float`, *optional*, defaults to 0.05): ε, the share of the logistic part; at 0 probabilities may be 0 and 1.
        objective (`str`, *optional*): the name in messages.

    Raises:
        InputError: the temperature can't be fitted, see [`fit_temperature`], or a number is out of range.
    """
    d = column(differences, "differences")
    y = column(labels, "labels", len(d))
    temperature = fit_temperature(d, y, objective=objective).temperature
    used = ~(np.isnan(d) | np.isnan(y)) & (d != 0)
    # Seen from the preferred side, the antisymmetric fit to both orders is the fit to one with a floor of 1/2.
    size, won = np.abs(d[used]), np.where(d[used] > 0, y[used], 1 - y[used])
    curve = IsotonicRegression(y_min=0.5, y_max=1.0).fit(size, won)
    x, first = np.unique(curve.X_thresholds_, return_index=True)
    p = np.clip(np.maximum.accumulate(curve.y_thresholds_[first]), 0.5, 1.0)
    return PairCalibrator((0.0, *x), (0.5, *p), temperature, strictness)
