"""Say what a mean surely exceeds: one-sided lower confidence bounds, each with what it assumes."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from frontier.errors import InputError
from frontier.measure.rows import spans

# Of the skewness bound: how far the sample's skewness is scaled up and its standard error moved against us, and the weight of the second-order term. Chosen on
# simulated rewards, exponential and gamma towards the bad side, so that the bound fails no more often than promised from 30 prompts on.
SCALE, MARGIN, SECOND = 1.2, 1.5, 0.4
# A bet risks at most this share of the capital.
STAKE = 0.5
GRID = 2001


def t_bound(values: NDArray[np.float64], delta: float) -> float:
    r"""$\bar r - t_{1-\delta,\,n-1}\, s / \sqrt n$, the safety test of HC-RLHF ([Chittepu et al., 2025](https://arxiv.org/abs/2506.08266)).

    Assumes normal means. Where rewards are skewed towards the bad side it fails more often than $\delta$: at $\delta$ = 5 % and exponential rewards in 10 %
    (30 prompts) and 8 % (100), at 0.24 % in 1.9 % and 1 %. Values that are all alike show no spread to judge by: -inf.
    """
    mean, error, n = mean_and_error(values)
    return mean + float(stdtrit(n - 1, delta)) * error if error > 0 else -math.inf


def skewness_bound(values: NDArray[np.float64], delta: float) -> float:
    r"""The t bound with a quantile that grows with the skewness towards the bad side.

    With $t = t_{1-\delta,\,n-1}$, $\hat\gamma$ the sample skewness and $h = \min(0,\, 1.2\, \hat\gamma - 1.5 \sqrt{6/n}) / \sqrt n$, the quantile is
    $t - h (1 + 2 t^2) / 6 + 0.4\, h^2\, t (1 + t^2)$: the expansion of [Johnson, 1978](https://doi.org/10.1080/01621459.1978.10481597) and
    [Hall, 1992](https://doi.org/10.1007/978-1-4612-4384-7), moved against us by one and a half standard errors of the skewness, with a second term fitted by simulation. It assumes that the
    sample shows the skew. At $\delta$ = 5 % and a mean just below
    the minimum it was reached in 3.6, 4.6 and 4.8 % of 10,000 samples of normal rewards (30, 100, 300 prompts), and in 3 to 4.8 % of exponential and gamma rewards towards the
    bad side; log-normal rewards with skewness 3.7 need more than 30 prompts. Failures so rare that a sample may hold none need
    `betting_bound`: at 30 prompts and one failure in ten, one sample in 24 shows none. Values that are all alike show no spread to judge by: -inf.
    """
    mean, error, n = mean_and_error(values)
    return mean - _corrected(-float(stdtrit(n - 1, delta)), _skew(values)) * error if error > 0 else -math.inf


def betting_bound(values: NDArray[np.float64], delta: float, span: tuple[float, float], seed: int = 0) -> float:
    r"""A bound that holds for every distribution on a known range ([Waudby-Smith & Ramdas, 2024](https://arxiv.org/abs/2010.09686)), for any number of prompts.

    A gambler who bets on each prompt that the mean exceeds m can't expect to win if it doesn't; $m$ is refused when the capital
    $\prod_i (1 + \lambda_i (r_i - m))$ ever reaches $1/\delta$ (Ville). The bets $\lambda_i$ depend on earlier prompts only: the paper's predictable plug-in for a fixed n, at
    most half the capital. Prompts are taken in an order drawn with the seed.
    """
    grid = np.linspace(0.0, 1.0, GRID)
    refused = _log_capital(values, delta, span, grid, seed) >= -math.log(delta)
    # The first m that survives: the bound stays below it, even if a larger one was refused again.
    place = int(np.argmin(refused)) if not refused.all() else GRID - 1
    return span[0] + (span[1] - span[0]) * float(grid[max(place - 1, 0)])


def t_p_value(values: NDArray[np.float64], minimum: float) -> float:
    """The smallest delta at which `t_bound` reaches the minimum; 1 where all values are alike."""
    mean, error, n = mean_and_error(values)
    return 1.0 if error == 0.0 else float(stdtr(n - 1, -(mean - minimum) / error))


def skewness_p_value(values: NDArray[np.float64], minimum: float) -> float:
    """The smallest delta at which `skewness_bound` reaches the minimum; 1 where all values are alike or the mean isn't above it."""
    mean, error, n = mean_and_error(values)
    if error == 0.0:
        return 1.0
    # Beyond any quantile that matters; the search for the root would not end at larger ones.
    observed, skew = min((mean - minimum) / error, 1e12), _skew(values)
    if observed <= _corrected(0.0, skew):
        return 1.0
    found = brentq(lambda t: _corrected(t, skew) - observed, 0.0, observed + 1.0)
    return float(stdtr(n - 1, -found))


def betting_p_value(
    values: NDArray[np.float64], minimum: float, delta: float, span: tuple[float, float], seed: int = 0
) -> float:
    """One over the largest capital against the minimum, at most 1. The bets are made for this delta; the p-value is valid for any. 0 where no mean can be below the minimum, 1 where none can reach it."""
    share = (minimum - span[0]) / (span[1] - span[0])
    if not 0 < share <= 1:  # no mean lies below the range
        return 0.0 if share <= 0 else 1.0
    return float(np.exp(-max(0.0, _log_capital(values, delta, span, np.array([share]), seed)[0])))


def check_span(span: tuple[float, float], values: NDArray[np.float64]) -> None:
    """Refuse a range that is none or that a value lies outside of.

    Raises:
        InputError: says which.
    """
    low, high = span
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"a range needs two finite numbers, the lower first, found {low} to {high}")
    if values.min() < low or values.max() > high:
        raise InputError(
            f"rewards from {values.min():g} to {values.max():g} lie outside of their range {low:g} to {high:g}"
        )


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float, int]:
    """Mean, standard error and number; the error is exactly 0 where the values are alike up to rounding, whose tiny spread would pass for certainty."""
    error = 0.0 if spans(values) == 0 else float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()), error, len(values)


def _skew(values: NDArray[np.float64]) -> float:
    """The h of `skewness_bound`, not above 0."""
    n, off = len(values), values - values.mean()
    scale = math.sqrt(float((off**2).mean()))
    # Two values have no skewness; the margin stands for what they can't show.
    shown = float((off**3).mean()) / scale**3 * math.sqrt(n * (n - 1)) / (n - 2) if scale > 0 and n > 2 else 0.0
    return min(0.0, SCALE * shown - MARGIN * math.sqrt(6 / n)) / math.sqrt(n)


def _corrected(t: float, skew: float) -> float:
    """The quantile of the studentised mean, from Student's; rises with t."""
    return t - skew * (1 + 2 * t * t) / 6 + SECOND * skew * skew * t * (1 + t * t)


def _log_capital(
    values: NDArray[np.float64], delta: float, span: tuple[float, float], means: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """`[M]` logarithm of the largest capital against each of `[M]` hypothetical means, in units of the range."""
    unit = (np.random.default_rng(seed).permutation(values) - span[0]) / (span[1] - span[0])
    n = len(unit)
    seen = np.arange(1, n + 1)
    running = (0.5 + np.cumsum(unit)) / (seen + 1)
    variance = (0.25 + np.cumsum((unit - running) ** 2)) / (seen + 1)
    before = np.concatenate([[0.25], variance[:-1]])  # a bet must not know the reward that it is on
    bets = np.sqrt(2 * math.log(1 / delta) / (n * before))[:, None]
    bets = np.minimum(bets, STAKE / np.maximum(means, 1e-12))
    capital: NDArray[np.float64] = np.log1p(bets * (unit[:, None] - means)).cumsum(axis=0).max(axis=0)
    return capital
