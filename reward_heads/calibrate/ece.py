r"""Measure whether a reward's numbers mean what they say: of the pairs given 80 %, are 80 % preferred?

**ECE.** Predictions are put into bins of equal mass (or width); with weight $w_b = n_b / n$, mean prediction $\bar p_b$ and mean outcome $\bar y_b$
([Naeini et al., 2015](https://doi.org/10.1609/aaai.v29i1.9602); [Guo et al., 2017](https://huggingface.co/papers/1706.04599))

$$ \mathrm{ECE} = \sum_b w_b\, |g_b|, \qquad g_b = \bar y_b - \bar p_b . $$

**Its bias.** The plug-in is never 0: with true gap 0 and standard error $s_b$ a bin contributes $\mathrm{E}|g_b| = s_b \sqrt{2/\pi}$, so 10 bins of 100 fair coins read 0.04 under
perfect calibration ([Roelofs et al., 2022](https://huggingface.co/papers/2012.08668)). The squared error has an exact correction
([Kumar et al., 2019](https://huggingface.co/papers/1909.10155)), `rms`: $\sqrt{\sum_b w_b (g_b^2 - s_b^2)}$. For the absolute error one half of the rows tells the sign of a bin's gap
and the other half its size, $\mathrm{sign}(m'_b)\, g''_b$: 0 on average under perfect calibration, never above $|g_b|$ on average, and equal to it once the sign is clear. Since
miscalibration is a smooth curve, neighbouring bins vote on the sign, $m = Kg$ with a Gaussian kernel of a sixth of the bins. The mean over all splits in halves, with normal means:

$$ \tilde g_b = g_b\, (2 \Phi(z_b) - 1) - 2\, \frac{K_{bb} s_b^2}{\tau_b}\, \varphi(z_b), \qquad z_b = m_b / \tau_b, \quad \tau_b^2 = \sum_j K_{bj}^2 s_j^2, $$

summed up with $w_b$ in `debiased`. $s_b$ is the standard error over clusters (prompts), not rows. A gap whose sign alternates from bin to bin is understated: look at `rms`.

**Interval.** Cluster bootstrap of the debiased error, with its mean put back on the estimate: the bootstrap adds noise to gaps that have noise already, and so inherits the plug-in's bias.

**Pairs** have no order: $(a, b)$ with $p$ and $y$ is $(b, a)$ with $1 - p$ and $1 - y$. Each is read from the side the head prefers, so $p \ge 1/2$; the ECE of both orders together is the same
number with mirrored bins. **Ratings**: the gap of mean rating and mean prediction, in standard deviations of the ratings.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtr, ndtri

from frontier.errors import InputError, unknown_name
from reward_heads.calibrate.decomposition import Decomposition, decompose
from reward_heads.diagnose.intervals import (
    DEFAULT,
    Floats,
    Ints,
    Resampling,
    cluster_ids,
    column,
    multiplicities,
    percentiles,
    wilson,
)
from reward_heads.diagnose.report import Estimate, Report, number, text_table

# Of all bins: how far the neighbours of a bin have a say in the sign of its gap.
_SIGN_WIDTH = 1 / 6
BINNINGS = ("mass", "width")
Clusters = Sequence[Hashable] | NDArray


@dataclass(frozen=True)
class Bin:
    """What one bin of predictions turned out to be.

    Args:
        low, high (`float`): the predictions in it; `high` belongs to the next bin.
        n (`int`): how many.
        predicted, observed (`float`): means; of ratings in their own units.
        interval (`tuple[float, float]`): of `observed`: Wilson's with the effective number of rows, or normal for ratings.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class CalibrationError(Report):
    """How far one head's predictions are from what happened.

    Args:
        objective (`str`): the head.
        kind (`str`): `"pairs"`, `"binary"` or `"ratings"`.
        n, clusters (`int`): rows used, of how many prompts or documents.
        ece (`float`): the plug-in, as other tools report it.
        debiased (`Estimate`): without what mere noise adds, with its interval; at least 0.
        rms (`float`): root of the debiased mean square error; at least 0.
        unit (`float`): what errors are divided by: 1 for probabilities, the ratings' standard deviation for ratings.
        bins (`tuple[Bin, ...]`): for the reliability diagram.
        brier, log_loss (`Decomposition`, *optional*): of probabilities.
    """

    objective: str
    kind: str
    n: int
    clusters: int
    ece: float
    debiased: Estimate
    rms: float
    unit: float
    bins: tuple[Bin, ...]
    brier: Decomposition | None = None
    log_loss: Decomposition | None = None

    def table(self) -> str:
        """A summary and the bins."""
        head = [f"{self.objective or 'all'} ({self.kind})", "predicted", "observed", "interval", "n"]
        rows = [
            [f"{number(b.low)} – {number(b.high)}", b.predicted, b.observed, _span(b.interval), b.n] for b in self.bins
        ]
        lines = [f"ECE {number(self.ece)}, debiased {self.debiased}, rms {number(self.rms)}; n = {self.n}"]
        for name, part in (("Brier", self.brier), ("log loss", self.log_loss)):
            if part is not None:
                lines.append(f"{name} {part}")
        return "\n".join([text_table(head, rows), *lines])


def _span(interval: tuple[float, float]) -> str:
    return f"[{number(interval[0])}, {number(interval[1])}]"


def pair_calibration_error(
    differences: ArrayLike,
    labels: ArrayLike,
    clusters: Clusters | None = None,
    *,
    objective: str = "",
    bins: int = 10,
    binning: str = "mass",
    how: Resampling = DEFAULT,
) -> CalibrationError:
    """Calibration of P(a ≻ b) = σ(Δ), from the preferred side, so that swapping a and b changes nothing.

    Args:
        differences (`ArrayLike`): `[N]`, score of a minus score of b in nats; NaN = not known.
        labels (`ArrayLike`): `[N]`, probability that a is better (0.5 = tie); NaN = missing.
        clusters (*optional*): `[N]`, what hangs together (prompts, documents).
        objective (`str`, *optional*): the name in the result.
        bins (`int`, *optional*, defaults to 10): see [`binary_calibration_error`].
        binning (`str`, *optional*, defaults to `"mass"`): the same.
        how (`Resampling`, *optional*): of the interval.

    Raises:
        InputError: lengths differ, a label is outside [0, 1], or nothing is labelled.
    """
    d = column(differences, "differences")
    y = column(labels, "labels", len(d))
    _check_unit("labels", y)
    # Turned before the sigmoid: 1 − σ(−Δ) and σ(Δ) differ in the last digit.
    return probability_error(
        expit(np.abs(d)),
        np.where(d < 0, 1 - y, y),
        clusters,
        objective=objective,
        bins=bins,
        binning=binning,
        how=how,
        pairs=True,
    )


def binary_calibration_error(
    probabilities: ArrayLike,
    labels: ArrayLike,
    clusters: Clusters | None = None,
    *,
    objective: str = "",
    bins: int = 10,
    binning: str = "mass",
    how: Resampling = DEFAULT,
) -> CalibrationError:
    """Calibration of probabilities that a flag is 1.

    Args:
        probabilities (`ArrayLike`): `[N]` in [0, 1]; of a head that scores in nats, its sigmoid.
        labels (`ArrayLike`): `[N]` in [0, 1]; NaN = missing.
        clusters (*optional*): `[N]`, what hangs together.
        objective (`str`, *optional*): the name in the result.
        bins (`int`, *optional*, defaults to 10): at most; equal predictions always share a bin.
        binning (`str`, *optional*, defaults to `"mass"`): as many rows in each, or `"width"`.
        how (`Resampling`, *optional*): of the interval.

    Raises:
        InputError: lengths differ, a number is outside [0, 1], or nothing is labelled.
    """
    return probability_error(
        probabilities, labels, clusters, objective=objective, bins=bins, binning=binning, how=how, pairs=False
    )


def probability_error(
    probabilities: ArrayLike,
    labels: ArrayLike,
    clusters: Clusters | None,
    *,
    objective: str,
    bins: int,
    binning: str,
    how: Resampling,
    pairs: bool,
) -> CalibrationError:
    """What the two above do; `pairs` reads each row from the side with the larger probability. For calibrators that give probabilities of pairs."""
    p, y, ids = _known(probabilities, labels, clusters, "probabilities", objective)
    for what, values in (("probabilities", p), ("labels", y)):
        _check_unit(what, values)
    if pairs:
        # At p = 1/2 both orders count half: nothing was predicted, so nothing is wrong.
        y = np.where(p == 0.5, 0.5, np.where(p < 0.5, 1 - y, y))
        p = np.maximum(p, 1 - p)
    # 1 − p and p of a pair's two orders may differ in the last digit, and must share a bin.
    place = np.round(p, 12) if pairs else p
    edges = bin_edges(place, bins, binning, (0.5, 1.0) if pairs else (0.0, 1.0))
    kind = "pairs" if pairs else "binary"
    parts = {"brier": decompose(p, y, "brier", pairs=pairs), "log_loss": decompose(p, y, "log", pairs=pairs)}
    return _error(p, y, ids, place, edges, objective, kind, 1.0, how, **parts)


def rating_calibration_error(
    predicted: ArrayLike,
    ratings: ArrayLike,
    clusters: Clusters | None = None,
    *,
    objective: str = "",
    bins: int = 10,
    binning: str = "mass",
    how: Resampling = DEFAULT,
) -> CalibrationError:
    """Calibration of predicted ratings: does a text that is given 3.5 get 3.5 on average? In standard deviations of the ratings.

    Args:
        predicted (`ArrayLike`): `[N]`, in rating units; NaN = not known.
        ratings (`ArrayLike`): `[N]`; NaN = missing.
        clusters (*optional*): `[N]`, what hangs together.
        objective (`str`, *optional*): the name in the result.
        bins (`int`, *optional*, defaults to 10): see [`binary_calibration_error`].
        binning (`str`, *optional*, defaults to `"mass"`): the same.
        how (`Resampling`, *optional*): of the interval.

    Raises:
        InputError: lengths differ, nothing is rated, or all ratings are the same, so that they have no unit.
    """
    s, y, ids = _known(predicted, ratings, clusters, "predictions", objective)
    if y.min() == y.max():
        raise InputError(
            f"objective '{objective}': all {len(y)} ratings are {y[0]:g}, which gives no unit to measure errors in"
        )
    edges = bin_edges(s, bins, binning, (float(s.min()), float(s.max())))
    return _error(s, y, ids, s, edges, objective, "ratings", float(y.std()), how)


def debiased_error(gap: Floats, standard_error: Floats, weight: Floats) -> Floats:
    """Mean size of gaps without what noise adds, see above; negative where the gaps are smaller than noise alone would make them.

    Args:
        gap (`NDArray`): `[..., B]`, of neighbouring bins.
        standard_error (`NDArray`): `[B]`.
        weight (`NDArray`): `[..., B]`, shares of the rows.
    """
    s = np.maximum(standard_error, 1e-12)
    steps = np.arange(len(s))
    neighbours = np.exp(-((steps[:, None] - steps) ** 2) / (2 * (_SIGN_WIDTH * len(s)) ** 2))
    neighbours /= neighbours.sum(1, keepdims=True)
    deviation = np.sqrt(neighbours**2 @ s**2)
    z = gap @ neighbours.T / deviation
    shared = np.diag(neighbours) * s**2 / deviation
    sizes = gap * (2 * ndtr(z) - 1) - 2 * shared * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return (weight * sizes).sum(-1)


def bin_edges(values: Floats, bins: int, binning: str, span: tuple[float, float]) -> Floats:
    """Inner and outer edges of bins; equal values share a bin, so there may be fewer bins of equal mass than asked for.

    Raises:
        InputError: no bin, or an unknown way of binning.
    """
    if bins < 1:
        raise InputError(f"bins must be at least 1, found {bins}")
    if binning not in BINNINGS:
        raise unknown_name("binning", binning, BINNINGS)
    if binning == "width":
        return np.linspace(*span, bins + 1)
    ordered = np.sort(values)
    inner = np.unique(ordered[(np.arange(1, bins) * len(ordered)) // bins])
    return np.array([ordered[0], *inner[inner > ordered[0]], ordered[-1]])


def _check_unit(what: str, values: Floats) -> None:
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise InputError(f"{what} must be in [0, 1], found {values[outside][0]:g}")


def _known(
    predicted: ArrayLike, observed: ArrayLike, clusters: Clusters | None, what: str, objective: str
) -> tuple[Floats, Floats, Ints]:
    p = column(predicted, what)
    y = column(observed, "labels", len(p))
    used = ~(np.isnan(p) | np.isnan(y))
    if not used.any():
        raise InputError(f"objective '{objective}': no row has both a label and a known score")
    return p[used], y[used], cluster_ids(cluster_ids(clusters, len(p))[used], int(used.sum()))


def _error(
    p: Floats,
    y: Floats,
    ids: Ints,
    place: Floats,
    edges: Floats,
    objective: str,
    kind: str,
    unit: float,
    how: Resampling,
    **parts: Decomposition,
) -> CalibrationError:
    bin_of = np.searchsorted(edges[1:-1], place, side="right")
    filled, bin_of = np.unique(bin_of, return_inverse=True)
    n_bins, n_clusters = len(filled), int(ids.max()) + 1
    # Sums by cluster and bin are all that a resample of clusters needs.
    count, residual = np.zeros((n_clusters, n_bins)), np.zeros((n_clusters, n_bins))
    np.add.at(count, (ids, bin_of), 1.0)
    np.add.at(residual, (ids, bin_of), (y - p) / unit)
    gap = residual.sum(0) / count.sum(0)
    deviation = _standard_errors(p, y, bin_of, count, residual, gap, kind, unit)
    weight = count.sum(0) / len(p)
    debiased = float(debiased_error(gap, deviation, weight))
    low = high = math.nan
    if n_clusters > 1 and how.resamples:
        drawn = multiplicities(n_clusters, how)
        counts = drawn @ count
        gaps = np.divide(drawn @ residual, counts, out=np.zeros_like(counts), where=counts > 0)
        draws = debiased_error(gaps, deviation, counts / counts.sum(1, keepdims=True))
        ends = percentiles(draws - draws.mean(), how.level)
        low, high = (max(0.0, debiased + float(end)) for end in ends)
    bins = []
    for b in range(n_bins):
        inside = bin_of == b
        mean, reach = float(y[inside].mean()), float(deviation[b]) * unit
        interval = _interval(mean, int(inside.sum()), reach, kind, how.level)
        span = float(edges[filled[b]]), float(edges[filled[b] + 1])
        bins.append(Bin(*span, int(inside.sum()), float(p[inside].mean()), mean, interval))
    rms = math.sqrt(max(0.0, float(weight @ (gap**2 - deviation**2))))
    estimate = Estimate(max(0.0, debiased), low, high)
    ece = float(weight @ np.abs(gap))
    return CalibrationError(objective, kind, len(p), n_clusters, ece, estimate, rms, unit, tuple(bins), **parts)


def _standard_errors(
    p: Floats, y: Floats, bin_of: Ints, count: Floats, residual: Floats, gap: Floats, kind: str, unit: float
) -> Floats:
    """`[B]`: of each gap, over clusters; of a bin of one cluster, if the predictions were right and its rows independent."""
    spread = ((residual - count * gap) ** 2).sum(0)
    clusters = (count > 0).sum(0)
    over_clusters = np.sqrt(spread * clusters / np.maximum(clusters - 1, 1)) / count.sum(0)
    variance = p * (1 - p) if kind != "ratings" else np.full(len(p), y.var() / unit**2)
    if_right = np.sqrt(np.bincount(bin_of, variance)) / count.sum(0)
    return np.where(clusters > 1, over_clusters, if_right)


def _interval(mean: float, n: int, deviation: float, kind: str, level: float) -> tuple[float, float]:
    if kind == "ratings":
        z = float(ndtri(0.5 + level / 2))
        return mean - z * deviation, mean + z * deviation
    # Rows that hang together count for fewer: as many independent ones as would give the same standard error.
    independent = mean * (1 - mean) / deviation**2 if deviation > 0 else math.inf
    return wilson(mean, max(1.0, min(n, independent)) if independent > 0 else n, level)
