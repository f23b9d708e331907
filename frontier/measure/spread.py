"""Describe how the points of a front lie: how wide, how far apart, how evenly.

None of the three says that a front is good: all can be improved by making a front worse. They describe a front whose quality was measured otherwise
(hypervolume, EUM). Only the non-dominated points count, each reward vector once, and objectives on different scales must be brought to one before (or
`scale` given).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.dominance import as_points, non_dominated
from frontier.measure.rows import filled


def spread(points: ArrayLike, scale: ArrayLike | None = None) -> float:
    r"""Maximum spread: how much there is to choose between, as the diagonal of the box that the front spans. Larger is wider.

    $$ MS(P) = \sqrt{\textstyle\sum_k (\max_p p_k - \min_p p_k)^2} $$

    (Zitzler, *Evolutionary Algorithms for Multiobjective Optimization*, ETH Zürich 1999.)

    Args:
        points (`ArrayLike`): `[n, K]`, finite, at least one.
        scale (`ArrayLike`, *optional*): `[K]`, above 0; each objective is divided by it.

    Raises:
        InputError: there is no point, a row is not finite, or the scale is not above 0 or has another length.

    Example:
        >>> spread([[3, 0], [0, 4], [-1, -1]])  # the third is dominated
        5.0
    """
    return float(np.linalg.norm(np.ptp(_front(points, scale), axis=0)))


def sparsity(points: ArrayLike, scale: ArrayLike | None = None) -> float:
    r"""Sparsity: the mean squared gap between neighbours, objective by objective. Papers call smaller better; read the caveat.

    $$ S(P) = \frac{1}{n - 1} \sum_k \sum_{i=1}^{n-1} (p_k^{(i+1)} - p_k^{(i)})^2 $$

    with $p_k^{(1)} \le \dots \le p_k^{(n)}$ the rewards of objective k in order ([Xu et al., 2020](https://proceedings.mlr.press/v119/xu20h.html)).

    Caveat: it misleads, and is here because papers report it. Losing the ends of a front *lowers* it, as does crowding all points into one place; a good new
    extreme point can raise it. With three or more objectives neighbours in one objective need not be neighbours on the front. The authors of morl-baselines,
    whose code computes it, advise against it. Compare fronts by hypervolume, EUM or `mul`; use sparsity, if at all, between fronts of equal extent.

    Args:
        points (`ArrayLike`): `[n, K]`, finite, at least one.
        scale (`ArrayLike`, *optional*): `[K]`, above 0; each objective is divided by it.

    Returns:
        `float`: in squared reward units; NaN = not known for a front of one point, which has no gap. (Some codes give 0 there, which would make it the best
            of all fronts.)

    Raises:
        InputError: there is no point, a row is not finite, or the scale is not above 0 or has another length.

    Example:
        >>> sparsity([[0, 3], [1, 1], [2, 0]])  # (1 + 1 + 1 + 4) / 2
        3.5
    """
    front = _front(points, scale)
    if len(front) < 2:
        return float("nan")
    return float((np.diff(np.sort(front, axis=0), axis=0) ** 2).sum() / (len(front) - 1))


def spacing(points: ArrayLike, scale: ArrayLike | None = None) -> float:
    r"""Spacing: how unevenly the points lie, as the standard deviation of the distance to the nearest neighbour. 0 = evenly.

    $$ SP(P) = \sqrt{\frac{1}{n - 1} \sum_i (d_i - \bar d)^2}, \qquad d_i = \min_{j \ne i} \sum_k |p_{ik} - p_{jk}| $$

    (Schott, *Fault Tolerant Design Using Single and Multicriteria Genetic Algorithm Optimization*, MIT 1995.)

    Args:
        points (`ArrayLike`): `[n, K]`, finite, at least one.
        scale (`ArrayLike`, *optional*): `[K]`, above 0; each objective is divided by it.

    Returns:
        `float`: in reward units; NaN = not known for a front of one point.

    Raises:
        InputError: there is no point, a row is not finite, or the scale is not above 0 or has another length.

    Example:
        >>> spacing([[0, 2], [1, 1], [2, 0]])
        0.0
    """
    from scipy.spatial import cKDTree  # half a second to import

    front = _front(points, scale)
    if len(front) < 2:
        return float("nan")
    gaps = cKDTree(front).query(front, k=2, p=1)[0][:, 1]  # the nearest of all is the point itself
    return float(gaps.std(ddof=1))


def _front(points: ArrayLike, scale: ArrayLike | None) -> NDArray[np.float64]:
    """The non-dominated points, divided by the scale."""
    array = filled(points, "points")
    array = array[non_dominated(array)]
    if scale is None:
        return array
    divisor = as_points(np.atleast_2d(np.asarray(scale, dtype=np.float64)), "scale", array.shape[1])
    if len(divisor) != 1 or not (divisor > 0).all():
        raise InputError(f"the scale must be one row of numbers above 0, found {divisor.tolist()}")
    return np.asarray(array / divisor[0])
