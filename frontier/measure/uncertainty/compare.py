"""Decide whether one front is better than another, when both answered the same prompts."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from frontier.errors import InputError
from frontier.measure.uncertainty.bootstrap import Resampled, check_settings, resample
from frontier.measure.uncertainty.estimate import Estimate
from frontier.measure.uncertainty.kernels import Indicator, Kernel, kernel
from frontier.measure.uncertainty.samples import FEWEST_PROMPTS, Samples, unknown_to_some


@dataclass(frozen=True)
class Comparison:
    r"""Whether front A beats front B.

    Args:
        indicator (`str`): by what.
        difference (`Estimate`): A - B, paired over prompts, with the reference point and the normaliser that both share; above 0 where A is better.
        a (`float`), b (`float`): the figure of each front's plain means over the prompts that were compared.
        p_value (`float`): two-sided, of "there is no difference"; the interval at level 1 - p just touches 0.
        standard_deviation (`float`): $\sqrt N$ times the standard error of the difference: per prompt, what power depends on.
        objectives (`tuple[str, ...]`): of both, where their names are known.
    """

    indicator: str
    difference: Estimate
    a: float
    b: float
    p_value: float
    standard_deviation: float
    objectives: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`"A is better"`, `"B is better"` or `"not decided"`, at the level of the interval."""
        if self.p_value > 1 - self.difference.level:
            return "not decided"
        return "A is better" if self.difference.value > 0 else "B is better"

    def __str__(self) -> str:
        """In a line, for print."""
        return f"{self.verdict}: {self.indicator} A - B = {self.difference}, p = {self.p_value:.3g}"


def compare_rewards(
    rewards_a: ArrayLike,
    rewards_b: ArrayLike,
    indicator: str | Indicator,
    *,
    reference_point: ArrayLike | None = None,
    weights_a: ArrayLike | None = None,
    weights_b: ArrayLike | None = None,
    served_a: ArrayLike | None = None,
    served_b: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    objectives: tuple[str, ...] = (),
    normalizer: dict[str, Any] | None = None,
) -> Comparison:
    """Test the difference of a figure between two fronts on the same prompts.

    Each redraw of the prompts is used for both fronts, so what makes a prompt easy or hard for both cancels. The interval is that of `bootstrap`, of the
    difference of the two figures (their biases cancel as far as the fronts are alike), with quantiles of t that reach at least as far as Student's; the p-value inverts it. It is
    cautious: of 250 pairs of fronts that are equally good it told at most 4 % apart at level 95 % (studentised and basic intervals: 9 to 26 %), and of 1,000 pairs of single points
    whose rewards are 0 or 1, a share 0.5 to 0.98 of them 1, 0 to 5 % (10 to 200 prompts; without Student's quantiles 16 to 21 % at 0.98 and 60 prompts).

    Rewards that are alike on all prompts of both fronts (no failure) show no spread: the interval has no width then, `method` says so, and the verdict is no more than what the sample
    holds. What the truth of each front may still be, `certify(..., ranges=...)` bounds from the range of the rewards.

    An objective of a prompt counts only where every point of both fronts knows it: means over different prompts would differ by how hard those are, whatever the fronts.

    Args:
        rewards_a (`ArrayLike`): `[P_A, N, K]`, maximised; NaN = not known.
        rewards_b (`ArrayLike`): `[P_B, N, K]`, in the same units; row j is the same prompt in both.
        indicator (`str` or callable): as of `bootstrap`.
        reference_point (`ArrayLike`, *optional*): `[K]`, of a hypervolume; one for both.
        weights_a (`ArrayLike`, *optional*): `[W, K]`, of the other indicators.
        weights_b (`ArrayLike`, *optional*): the same for B. Default: `weights_a`.
        served_a (`ArrayLike`, *optional*): `[W]`, as of `bootstrap`.
        served_b (`ArrayLike`, *optional*): the same for B.
        level (`float`, *optional*, defaults to 0.95): of confidence.
        resamples (`int`, *optional*, defaults to 2000): how often the prompts are redrawn.
        seed (`int`, *optional*, defaults to 0): the same seed redraws the same prompts.
        objectives (`tuple[str, ...]`, *optional*): kept in the result.
        normalizer (`dict`, *optional*): kept in the result.

    Raises:
        InputError: prompts or objectives differ in number, fewer than 10 prompts are known to both fronts in an objective, or anything that `bootstrap` refuses.
    """
    check_settings(level, resamples)
    both = (Samples.of(rewards_a), Samples.of(rewards_b))
    (points_a, k), (points_b, k_b) = both[0].shape, both[1].shape
    if both[0].n_prompts != both[1].n_prompts or k != k_b:
        raise InputError(
            f"fronts compare on the same prompts and objectives: found {both[0].n_prompts} prompts and {k} objectives in A, "
            f"{both[1].n_prompts} and {k_b} in B"
        )
    if weights_b is None:
        weights_b = weights_a
    figure_a = kernel(indicator, points_a, k, reference_point, weights_a, served_a)
    figure_b = kernel(indicator, points_b, k, reference_point, weights_b, served_b)
    joined = np.concatenate([np.asarray(r, dtype=np.float64) for r in (rewards_a, rewards_b)])
    together = Samples.of(_known_to_all(joined, objectives))
    found = _no_shorter_than_student(resample(together, _difference(figure_a, figure_b, points_a), resamples, seed))
    value, low, high = found.interval(level, "extrapolated")
    name = indicator if isinstance(indicator, str) else getattr(indicator, "__name__", "indicator")
    place = None if name != "hypervolume" else tuple(np.asarray(reference_point, dtype=np.float64).tolist())
    difference = Estimate(
        value,
        low,
        high,
        level,
        method=f"bootstrap over prompts, paired, extrapolated, {resamples} resamples{found.note}",
        n_prompts=together.n_prompts,
        reference_point=place,
        normalizer=normalizer,
    )
    means = together.means()[None]
    return Comparison(
        name,
        difference,
        float(figure_a(means[:, :points_a])[0]),
        float(figure_b(means[:, points_a:])[0]),
        _p_value(found),
        found.error * together.n_prompts**0.5,
        objectives,
    )


def _known_to_all(rewards: NDArray[np.float64], objectives: tuple[str, ...]) -> NDArray[np.float64]:
    """The same rewards, NaN for all points where one does not know them; without the prompts of which nothing is left."""
    unknown = unknown_to_some(rewards)
    for k, count in enumerate((~unknown).sum(axis=0)):
        if count < FEWEST_PROMPTS:
            name = objectives[k] if objectives else k
            raise InputError(
                f"every point of both fronts knows objective {name} on {count} of {len(unknown)} prompts, and at least {FEWEST_PROMPTS} are needed"
            )
    kept = ~unknown.all(axis=1)
    return np.where(unknown, np.nan, rewards)[:, kept]


def _no_shorter_than_student(found: Resampled) -> Resampled:
    """The same with t statistics that reach at least as far as Student's: a handful of failures show their skew, but not how uncertain that is."""
    n = len(found.t)
    student = stdtrit(found.n_prompts - 1, (np.arange(n) + 0.5) / n)
    return replace(found, t=np.where(student > 0, np.maximum(found.t, student), np.minimum(found.t, student)))


def _difference(figure_a: Kernel, figure_b: Kernel, points_a: int) -> Kernel:
    def figure(fronts: NDArray[np.float64]) -> NDArray[np.float64]:
        return figure_a(fronts[:, :points_a]) - figure_b(fronts[:, points_a:])

    return figure


def _p_value(found: Resampled) -> float:
    """Two-sided: twice the share of t statistics beyond the observed one, the interval's slack taken off first."""
    down, up = found.slack
    distance = max(found.corrected - down, 0.0) + min(found.corrected + up, 0.0)
    if distance == 0.0:
        return 1.0
    n = len(found.t)
    if found.error == 0.0:
        return 2 / (n + 1)  # what the resamples can show at most; without a spread even that is not sure
    observed = distance / found.error
    beyond = n - np.searchsorted(found.t, observed) if observed > 0 else np.searchsorted(found.t, observed, "right")
    return float(min(1.0, 2 * (beyond + 1) / (n + 1)))
