r"""Say how sure a figure is: Wilson's interval for a share, and the bootstrap over prompts where labels of one prompt hang together.

Rows that share a prompt (or a document) are not independent: twelve pairs of one article tell less than twelve pairs of twelve articles. The cluster bootstrap
([Efron & Tibshirani, 1993](https://doi.org/10.1201/9780429246593); [Field & Welsh, 2007](https://doi.org/10.1111/j.1467-9868.2007.00593.x)) draws whole prompts with
replacement; rows only ever come with the rest of their prompt.

Wilson's interval ([Wilson, 1927](https://doi.org/10.1080/01621459.1927.10502953)) of a share $\hat p$ of n independent rows, with the normal quantile z:

$$ \frac{\hat p + z^2/2n \pm z \sqrt{\hat p (1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n} $$
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from frontier.errors import InputError
from reward_heads.diagnose.report import Estimate


def check_level(level: float) -> None:
    """Refuse a level that is no probability.

    Raises:
        InputError: it is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level must be between 0 and 1, found {level}")


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Args:
        level (`float`, *optional*, defaults to 0.95): what share of such intervals should cover the truth.
        resamples (`int`, *optional*, defaults to 500): of the bootstrap; 0 leaves its intervals out.
        seed (`int`, *optional*, defaults to 0): the same seed gives the same intervals.

    Raises:
        InputError: the level is not between 0 and 1, or `resamples` is negative.
    """

    level: float = 0.95
    resamples: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.resamples < 0:
            raise InputError(f"resamples must not be negative, found {self.resamples}")


DEFAULT = Resampling()

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def wilson(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of `n` independent rows; NaN for `n` 0.

    Args:
        share (`float`): in [0, 1]; halves (ties) may count in it.
        n (`float`): how many; may be an effective number.
        level (`float`, *optional*, defaults to 0.95): of the interval.

    Example:
        >>> [round(end, 3) for end in wilson(0.9, 10)]
        [0.596, 0.982]
    """
    check_level(level)
    if not n > 0:
        return math.nan, math.nan
    z = float(ndtri(0.5 + level / 2))
    middle, reach = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, (middle - reach) / (1 + z**2 / n)), min(1.0, (middle + reach) / (1 + z**2 / n))


def cluster_ids(clusters: Sequence[Hashable] | NDArray | None, n: int) -> Ints:
    """`[N]` numbers 0..G−1 that tell which rows hang together; without `clusters` every row stands alone.

    Raises:
        InputError: there is not one cluster per row.
    """
    if clusters is None:
        return np.arange(n)
    values = clusters.tolist() if hasattr(clusters, "tolist") else list(clusters)
    if len(values) != n:
        raise InputError(f"one cluster per row: found {len(values)} clusters and {n} rows")
    at = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return np.array([at[value] for value in values], dtype=np.int64)


def multiplicities(n_clusters: int, how: Resampling) -> NDArray[np.int64]:
    """`[R, G]`: how often each cluster is drawn in each resample."""
    rng = np.random.default_rng(how.seed)
    return rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=how.resamples)


def resampled_rows(clusters: Ints, how: Resampling) -> Iterator[Ints]:
    """Row positions of each resample of whole clusters."""
    for counts in multiplicities(int(clusters.max()) + 1, how):
        yield np.repeat(np.arange(len(clusters)), counts[clusters])


def bootstrap(
    statistic: Callable[[Ints], float | Floats], clusters: Ints, how: Resampling = DEFAULT
) -> tuple[Floats, Floats]:
    """Percentile interval of any statistic of rows, by drawing whole clusters.

    Args:
        statistic (`Callable`): row positions to one number or an array of them; NaN in a resample is left out.
        clusters (`NDArray`): `[N]` of [`cluster_ids`].
        how (`Resampling`, *optional*): level, number of resamples, seed.

    Returns:
        the lower and the upper ends, shaped like the statistic; NaN with fewer than two clusters.
    """
    shape = np.shape(statistic(np.arange(len(clusters))))
    if not len(clusters) or clusters.max() < 1 or not how.resamples:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    draws = np.array([statistic(rows) for rows in resampled_rows(clusters, how)], dtype=np.float64)
    return percentiles(draws, how.level)


def mean_interval(values: Floats, clusters: Ints, how: Resampling = DEFAULT) -> Estimate:
    """Mean of rows with the cluster bootstrap's interval; fast, since a mean needs only each cluster's sum and count."""
    if not len(values):
        return Estimate(math.nan)
    sums, counts = np.bincount(clusters, values), np.bincount(clusters).astype(float)
    if len(counts) < 2 or not how.resamples:
        return Estimate(float(values.mean()))
    drawn = multiplicities(len(counts), how)
    low, high = percentiles((drawn @ sums) / (drawn @ counts), how.level)
    return Estimate(float(values.mean()), float(low), float(high))


def percentiles(draws: Floats, level: float) -> tuple[Floats, Floats]:
    """The central interval of draws along the first axis; NaN where no draw is known."""
    known = ~np.isnan(draws).all(axis=0)
    low, high = np.full(draws.shape[1:], np.nan), np.full(draws.shape[1:], np.nan)
    if known.any():
        ends = np.nanquantile(
            draws[..., known] if draws.ndim > 1 else draws, [0.5 - level / 2, 0.5 + level / 2], axis=0
        )
        if draws.ndim == 1:
            return ends[0], ends[1]
        low[known], high[known] = ends
    return low, high


def column(values: ArrayLike, what: str, n: int | None = None) -> Floats:
    """`[N]` float64 of a list, an array or a tensor.

    Raises:
        InputError: it is not one-dimensional, has another length than `n`, or is infinite somewhere; NaN = not known.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or (n is not None and len(found) != n):
        raise InputError(f"{what} must be [{'N' if n is None else n}], found {list(found.shape)}")
    if np.isinf(found).any():
        raise InputError(f"{what} must be finite, or NaN where not known")
    return found
