"""Say what each point of a front adds that no other point gives: the volume that would be lost without it."""

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.measure import kernels
from frontier.measure.reference import check_volumes, points_and_reference, warn_if_costs

Array = NDArray[np.float64]
PAIRS_AT_ONCE = 2**22  # comparisons of one point with another that are held in memory together


def hypervolume_contributions(points: ArrayLike, reference_point: ArrayLike) -> Array:
    r"""The hypervolume that is lost when a point is left out, for each point. Every objective is maximised.

    $$ c_i = HV(P, z) - HV(P \setminus \{p_i\}, z) $$

    Exact. A dominated point adds nothing, and of equal points each adds nothing, since the other one stays. A dominated point can still lower the contribution of the one
    point that dominates it, for it comes to light when that point is left out. Up to 3 objectives the contributions are swept by moocore; beyond, each is the
    point's box less the volume of what the others cover of it ([While et al., 2012](https://doi.org/10.1109/TEVC.2010.2077298)), which loses fewer digits than a difference of two
    hypervolumes.

    Args:
        points (`ArrayLike`): $P$, `[n, m]`, finite.
        reference_point (`ArrayLike`): $z$, `[m]`, finite.

    Returns:
        `NDArray[np.float64]`: `[n]`, at least 0, in the units of `hypervolume`. Their sum is at most the hypervolume, since volume that several points cover is no single point's.

    Raises:
        InputError: a row or the reference point is not finite, their lengths differ, or the volumes are too large or too small for a float.

    Example:
        >>> hypervolume_contributions([[1, 3], [2, 2], [1, 1]], [0, 0]).tolist()
        [1.0, 2.0, 0.0]
    """
    array, place = points_and_reference(points, reference_point)
    warn_if_costs(array, place)
    above = np.flatnonzero((array > place).all(axis=1))
    result = np.zeros(len(array))
    if len(above) == 0:
        return result
    check_volumes(array[above] - place)
    extents, first, count = np.unique(array[above] - place, axis=0, return_index=True, return_counts=True)
    keep = kernels.keep_first_non_dominated(extents)
    front, twice, rows = extents[keep], count[keep] > 1, above[first[keep]]
    shadows, owners = _covered_by_one(extents[~keep], front)
    if front.shape[1] == 1:
        found, one_by_one = front[:, 0], owners[:1]
    elif front.shape[1] <= 3:
        found, one_by_one = moocore.hv_contributions(-front, ref=np.zeros(front.shape[1])), np.unique(owners)
    else:
        found, one_by_one = np.zeros(len(front)), np.arange(len(front))
    starts = np.searchsorted(owners, np.arange(len(front) + 1))
    reach = 1 if front.shape[1] == 2 else len(front)  # in two objectives the neighbours bound what is a point's own
    for i in one_by_one:
        others = (front[max(0, i - reach) : i], front[i + 1 : i + 1 + reach], shadows[starts[i] : starts[i + 1]])
        found[i] = _exclusive(front[i], np.concatenate(others))
    result[rows] = np.where(twice, 0.0, np.maximum(found, 0.0))
    return result


def _covered_by_one(dominated: Array, front: Array) -> tuple[Array, NDArray[np.int64]]:
    """The dominated points that a single point of the front dominates, and which: only these come to light when a point is left out.

    In the order of their owners. The front comes in that of the first objective.
    """
    owners = np.full(len(dominated), -1)
    if front.shape[1] == 2:  # those that reach as far in the first objective and, further back, in the second
        low = np.searchsorted(front[:, 0], dominated[:, 0], side="left")
        high = np.searchsorted(-front[:, 1], -dominated[:, 1], side="right")
        owners = np.where(high - low == 1, low, -1)
    else:
        step = max(1, PAIRS_AT_ONCE // max(1, front.size))
        for start in range(0, len(dominated), step):
            block = dominated[start : start + step]
            covers = np.ones((len(block), len(front)), dtype=np.bool_)
            for k in range(front.shape[1]):
                covers &= front[:, k] >= block[:, k, None]
            owners[start : start + step] = np.where(covers.sum(axis=1) == 1, covers.argmax(axis=1), -1)
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] >= 0]
    return dominated[order], owners[order]


def _exclusive(extent: Array, others: Array) -> float:
    """The part of the box from 0 to `extent` that none of the others covers; none of them reaches it in every objective."""
    columns = np.ascontiguousarray(others.T)  # NumPy is slow at reducing short rows
    reaching = columns >= extent[:, None]
    # One that falls short in a single objective covers all that lies below it there, so that mostly a small box with few others is left.
    short_in_one = reaching.sum(axis=0, dtype=np.uint8) == len(extent) - 1
    low = np.where(reaching[:, short_in_one], 0.0, columns[:, short_in_one]).max(axis=1, initial=0.0)
    left = others[(columns > low[:, None]).all(axis=0)]
    box = extent - low
    if len(left) == 0:
        return float(box.prod())
    shared = np.minimum(left, extent) - low
    shared = np.ascontiguousarray(shared[kernels.keep_first_non_dominated(shared)])
    return float(box.prod() - kernels.volume(shared, np.zeros(len(extent))))
