"""Measure how much of the reward space a front covers, and settle where that space begins.

A hypervolume means nothing without its reference point: papers place it at zero, at the worst observed value or anywhere else, and their numbers
can't be compared. Here there is one policy, `reference_point`, and `ParetoFront.hypervolume` returns the point together with the value.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure import kernels
from frontier.measure.dominance import as_points
from frontier.measure.reference import points_and_reference, warn_if_costs
from frontier.measure.rows import spans


def hypervolume(points: ArrayLike, reference_point: ArrayLike) -> float:
    r"""The volume dominated by the points and bounded below by the reference point. Every objective is maximised.

    $$ HV(P, z) = \lambda\Big( \bigcup_{p \in P} [z_1, p_1] \times \dots \times [z_m, p_m] \Big) $$

    ([Zitzler & Thiele, 1998](https://doi.org/10.1007/BFb0056872)). Computed exactly: by moocore up to 6 objectives, and by pagmo's WFG
    ([While et al., 2012](https://doi.org/10.1109/TEVC.2010.2077298)) beyond and from 150 points in 6, where pygmo is installed. The time grows exponentially with m: 200 points take 10 ms in 6
    objectives and about 100 ms in 8; `approximate_hypervolume` is for what takes too long.

    A value of 0 is a value, not an error: `reference_hint` says where it comes from. When every point lies below the reference point in every objective, a
    warning asks whether these are costs.

    Args:
        points (`ArrayLike`): $P$, `[n, m]`, finite. Dominated points and duplicates change nothing. A point that is not above the reference point in
            every objective spans no volume and contributes nothing; an empty set has volume 0.
        reference_point (`ArrayLike`): $z$, `[m]`, finite.

    Raises:
        InputError: a row or the reference point is not finite, their lengths differ, or the volume is too large for a float.

    Example:
        >>> hypervolume([[1, 3], [2, 2]], [0, 0])  # 1x3 and 2x2, which share 1x2
        5.0
    """
    array, place = points_and_reference(points, reference_point)
    value = kernels.volume(array, place)
    if value == 0.0:
        warn_if_costs(array, place)
    return value


def reference_point(points: ArrayLike, margin: float = 0.1) -> NDArray[np.float64]:
    r"""The reference point for everything that is to be compared: a little below the worst of it in each objective.

    $$ z_k = \min_p p_k - \text{margin} \cdot (\max_p p_k - \min_p p_k) $$

    An objective in which all points agree (up to rounding, 1e-12 of the largest value) has no range; there the margin is taken of 1. The margin lets the extreme points of the front count: with
    none, the worst point in an objective spans no volume.

    Args:
        points (`ArrayLike`): `[n, m]`, *all* the points that will be compared: every front and the reference policy. Points of one front only would make
            its hypervolume incomparable.
        margin (`float`, *optional*, defaults to 0.1): of the range, at least 0.

    Returns:
        `NDArray[np.float64]`: `[m]`.

    Raises:
        InputError: there is no point, a row is not finite, or the margin is negative.

    Example:
        >>> reference_point([[0, 5], [10, 5]]).tolist()
        [-1.0, 4.9]
    """
    if not (np.isfinite(margin) and margin >= 0):
        raise InputError(f"the margin of the reference point must be at least 0, found {margin}")
    array = as_points(points)
    if len(array) == 0:
        raise InputError("a reference point needs at least one point to lie below, found none")
    extent = spans(array)
    return np.asarray(array.min(axis=0) - margin * np.where(extent > 0, extent, 1.0))
