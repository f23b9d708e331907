"""Estimate a hypervolume that would take too long to compute, with a bound on the error that holds as often as is asked."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure import kernels
from frontier.measure.reference import check_volumes, points_and_reference, warn_if_costs
from frontier.measure.rows import whole_number

Array = NDArray[np.float64]
FIRST_LOOK = 2_048  # samples before the error is looked at for the first time
GROWTH = 1.3  # of the samples from look to look
CHUNK = 2**15  # samples drawn together
BLOCK = 2_048  # points whose order is tabulated together


@dataclass(frozen=True)
class ApproximateHypervolume:
    """An estimated hypervolume with its interval.

    Args:
        value (`float`): the estimate.
        low (`float`), high (`float`): the hypervolume lies between them with probability `confidence` at least, over seeds.
        confidence (`float`): of the interval.
        relative_error (`float`): the larger distance from the value to an end of the interval, as a fraction of the lower end.
        reached (`bool`): whether this is as small as it was asked to be; if not, `max_samples` came first. The interval holds either way.
        samples (`int`): how many were drawn; 0 where the value is exact.
        reference_point (`tuple[float, ...]`): `[m]`, what the hypervolume is bounded by.
    """

    value: float
    low: float
    high: float
    confidence: float
    relative_error: float
    reached: bool
    samples: int
    reference_point: tuple[float, ...]


def approximate_hypervolume(
    points: ArrayLike,
    reference_point: ArrayLike,
    *,
    relative_error: float = 0.01,
    confidence: float = 0.95,
    seed: int = 0,
    max_samples: int = 2**24,
) -> ApproximateHypervolume:
    r"""The hypervolume up to a relative error, for so many objectives or points that the exact value takes too long. Every objective is maximised.

    The hypervolume is the volume of a union of boxes, and the unbiased estimator of [Karp, Luby and Madras, 1989](https://doi.org/10.1016/0196-6774(89)90038-2), used for hypervolumes by
    [Bringmann and Friedrich, 2010](https://doi.org/10.1016/j.comgeo.2010.03.004), needs no more samples for 30 objectives than for 10: draw a box in proportion to its volume $v_i$ and a point $x$ in
    it uniformly; then

    $$ HV = \Big(\sum_i v_i\Big) \, \mathbb{E}\big[ 1 / |\{ i : x \in \text{box}_i \}| \big]. $$

    Sampling stops when the empirical Bernstein bound ([Maurer and Pontil, 2009](https://arxiv.org/abs/0907.3740), theorem 4) is small enough. The bound is looked at a fixed number of times, and its
    failure probability is shared among the looks, so that stopping on it keeps the confidence.

    Args:
        points (`ArrayLike`): `[n, m]`, finite.
        reference_point (`ArrayLike`): `[m]`, finite.
        relative_error (`float`, *optional*, defaults to 0.01): $\varepsilon$: the value is within $\varepsilon$ times the hypervolume; half of it takes four times as many samples.
        confidence (`float`, *optional*, defaults to 0.95): with which the interval holds, between 0 and 1.
        seed (`int`, *optional*, defaults to 0): the same seed gives the same value.
        max_samples (`int`, *optional*, defaults to 2**24): stop there in any case; `reached` tells.

    Raises:
        InputError: a row or the reference point is not finite, their lengths differ, a setting is out of its range, or the volume is too large or too small for a float.

    Example:
        >>> round(approximate_hypervolume([[1, 3], [2, 2]], [0, 0]).value, 1)
        5.0
    """
    for name, share in (("relative_error", relative_error), ("confidence", confidence)):
        if not 0 < share < 1:
            raise InputError(f"{name} must lie between 0 and 1, found {share}")
    max_samples = whole_number(max_samples, "max_samples", FIRST_LOOK)
    array, place = points_and_reference(points, reference_point)
    warn_if_costs(array, place)
    extents = array[(array > place).all(axis=1)] - place
    if len(extents):
        check_volumes(extents, several=True)
    extents = extents[kernels.keep_first_non_dominated(np.ascontiguousarray(extents))]
    if len(extents) <= 1:
        value = float(extents.prod(axis=1).sum())
        return ApproximateHypervolume(value, value, value, confidence, 0.0, True, 0, tuple(place.tolist()))
    return _estimate(extents, place, relative_error, confidence, seed, max_samples)


def _estimate(
    extents: Array, place: Array, relative_error: float, confidence: float, seed: int, max_samples: int
) -> ApproximateHypervolume:
    generator = np.random.default_rng(seed)
    logs = np.log(extents).sum(
        axis=1
    )  # volumes may be too small or large for a float in many objectives, their ratios are not
    shares = np.exp(logs - logs.max())
    unit, cumulative = math.exp(logs.max()), np.cumsum(shares)
    total = float(cumulative[-1])
    tables = [_Containing(extents[start : start + BLOCK]) for start in range(0, len(extents), BLOCK)]
    looks = _looks(max_samples)
    log_term = math.log(4 * len(looks) / (1 - confidence))
    first = second = 0.0
    drawn = 0
    for look in looks:
        while drawn < look:
            size = min(CHUNK, look - drawn)
            box = np.searchsorted(cumulative, generator.random(size) * total, side="right").clip(max=len(extents) - 1)
            samples = generator.random((size, extents.shape[1])) * extents[box]
            shared = 1.0 / np.sum([table.count(samples) for table in tables], axis=0)
            first, second, drawn = first + float(shared.sum()), second + float(shared @ shared), drawn + size
        mean = first / drawn
        variance = max(second - first * mean, 0.0) / (drawn - 1)
        margin = math.sqrt(2 * variance * log_term / drawn) + 7 * log_term / (3 * (drawn - 1))
        # The largest box is covered, and the union is no larger than the sum of the boxes or the box around them all.
        least = max(mean - margin, 1 / total)
        around = math.exp(min(float(np.log(extents.max(axis=0)).sum()) - logs.max(), 700.0)) / total
        most = max(min(mean + margin, 1.0, around), least)
        middle = min(max(mean, least), most)
        error = max(most - middle, middle - least) / least
        if error <= relative_error:
            break
    value, low, high = (unit * total * share for share in (middle, least, most))
    return ApproximateHypervolume(
        value, low, high, confidence, error, error <= relative_error, drawn, tuple(place.tolist())
    )


def _looks(max_samples: int) -> list[int]:
    """After how many samples the bound is looked at: settled beforehand, so that its failure probability can be shared out."""
    looks = [FIRST_LOOK]
    while looks[-1] < max_samples:
        looks.append(min(math.ceil(looks[-1] * GROWTH), max_samples))
    return looks


class _Containing:
    """Counts the boxes that contain a sample: per objective a table of bit sets, 64 boxes a word, by the sample's rank."""

    def __init__(self, extents: Array) -> None:
        n = len(extents)
        self.sorted = np.sort(extents, axis=0)
        ranks = np.arange(n + 1)
        self.tables: list[NDArray[np.uint64]] = []
        for k in range(extents.shape[1]):
            position = np.empty(n, dtype=np.int64)
            position[np.argsort(extents[:, k], kind="stable")] = np.arange(n)
            bits = np.packbits(position[None, :] >= ranks[:, None], axis=1)
            padded = np.zeros((n + 1, -(-bits.shape[1] // 8) * 8), dtype=np.uint8)
            padded[:, : bits.shape[1]] = bits
            self.tables.append(padded.view(np.uint64))

    def count(self, samples: Array) -> NDArray[np.int64]:
        """`[S, m]` to `[S]`."""
        inside = self._holding(0, samples)
        for k in range(1, samples.shape[1]):
            inside &= self._holding(k, samples)
        return np.bitwise_count(inside).sum(axis=1, dtype=np.int64)

    def _holding(self, k: int, samples: Array) -> NDArray[np.uint64]:
        # As many boxes as are smaller than the sample in this objective don't contain it.
        return self.tables[k][np.searchsorted(self.sorted[:, k], samples[:, k], side="left")]
