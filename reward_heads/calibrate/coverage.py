r"""Check error bars of ratings: does an 80 % interval hold the rating in 80 % of the cases?

For predictions $\mu_i$ with standard deviations $\sigma_i$ the central normal interval of level $c$ is $\mu_i \pm z_c \sigma_i$; calibrated, it holds the rating with frequency c
([Kuleshov et al., 2018](https://huggingface.co/papers/1807.00263)). The standard deviation must be of a *rating* (what is not known about the mean, and the raters' spread). Also reported: the factor that
the standard deviations would have to be multiplied by, $\sqrt{\overline{(y - \mu)^2 / \sigma^2}}$.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from frontier.errors import InputError
from reward_heads.diagnose.intervals import DEFAULT, Resampling, check_level, cluster_ids, column, mean_interval
from reward_heads.diagnose.report import Estimate, Report, text_table

LEVELS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Coverage(Report):
    """How often intervals held the rating.

    Args:
        objective (`str`): the head.
        n (`int`): ratings used.
        levels (`tuple[float, ...]`): that the intervals claim.
        observed (`tuple[Estimate, ...]`): shares that they held.
        factor (`float`): what the standard deviations should be multiplied by; 1 if they are right on average.
    """

    objective: str
    n: int
    levels: tuple[float, ...]
    observed: tuple[Estimate, ...]
    factor: float

    @property
    def error(self) -> float:
        """Mean distance between claimed and observed shares."""
        return float(np.mean([abs(seen.value - level) for seen, level in zip(self.observed, self.levels, strict=True)]))

    def table(self) -> str:
        """Claimed and observed shares."""
        rows = [[f"{level:.0%}", str(seen)] for level, seen in zip(self.levels, self.observed, strict=True)]
        return text_table([f"{self.objective or 'interval'}", "observed"], rows) + (
            f"\nstandard deviations × {self.factor:.2f} would fit; n = {self.n}"
        )


def interval_coverage(
    predicted: ArrayLike,
    deviations: ArrayLike,
    ratings: ArrayLike,
    clusters: Sequence[Hashable] | NDArray | None = None,
    *,
    objective: str = "",
    levels: Sequence[float] = LEVELS,
    how: Resampling = DEFAULT,
) -> Coverage:
    """Coverage of normal intervals.

    Args:
        predicted (`ArrayLike`): `[N]` means, in rating units; NaN = not known.
        deviations (`ArrayLike`): `[N]` standard deviations of a rating, positive.
        ratings (`ArrayLike`): `[N]`; NaN = missing.
        clusters (*optional*): `[N]`, what hangs together.
        objective (`str`, *optional*): the name in the result.
        levels (`Sequence[float]`, *optional*): to check.
        how (`Resampling`, *optional*): of the intervals of the shares.

    Raises:
        InputError: lengths differ, nothing can be used, or a standard deviation is not positive.
    """
    mean = column(predicted, "predicted")
    s, y = column(deviations, "deviations", len(mean)), column(ratings, "ratings", len(mean))
    for level in levels:
        check_level(level)
    used = ~(np.isnan(mean) | np.isnan(s) | np.isnan(y))
    if not used.any():
        raise InputError(f"objective '{objective}': no row has a rating, a prediction and its standard deviation")
    if not (s[used] > 0).all():
        raise InputError(f"objective '{objective}': standard deviations must be positive, found {s[used].min():g}")
    z = (y[used] - mean[used]) / s[used]
    ids = cluster_ids(cluster_ids(clusters, len(mean))[used], int(used.sum()))
    held = [(np.abs(z) <= ndtri(0.5 + level / 2)).astype(np.float64) for level in levels]
    observed = tuple(mean_interval(inside, ids, how) for inside in held)
    return Coverage(objective, len(z), tuple(levels), observed, math.sqrt(float((z**2).mean())))
