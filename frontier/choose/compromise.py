"""Choose the point that is least far from having the best of everything."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.choose.selection import Selection, candidates, described, positive_weights, ranges
from frontier.errors import InputError
from frontier.front import ParetoFront
from frontier.measure.rows import filled, non_negative, spans

NORMS = {1.0: "the sum of its weighted gaps", 2.0: "the straight line", math.inf: "its largest weighted gap"}


def compromise_distance(points: ArrayLike, weights: ArrayLike, p: float = 2.0) -> NDArray[np.float64]:
    r"""How far each point is from the ideal: the distance that compromise programming minimises.

    $$ d_p(r) = \Big( \sum_k \big( w_k (z_k - r_k) / \rho_k \big)^p \Big)^{1/p}, \qquad d_\infty(r) = \max_k w_k (z_k - r_k) / \rho_k $$

    ([Yu, 1973](https://doi.org/10.1287/mnsc.19.8.936); Zeleny, *Compromise Programming*, 1973.) $z$ is the ideal, the best of each objective over the
    points, and $\rho$ the range of each objective over them. With p = 1 one objective's gain pays for another's loss; the larger p, the more the worst gap
    decides; p = ∞ looks at nothing else.

    Args:
        points (`ArrayLike`): $r$, `[n, K]`, maximised, finite, at least one.
        weights (`ArrayLike`): $w$, `[K]`, not negative, not all 0. Only their ratios matter to the choice.
        p (`float`, *optional*, defaults to 2): at least 1; `math.inf` for the largest gap.

    Returns:
        `NDArray[np.float64]`: `[n]`, at least 0. An objective in which all points agree (up to rounding) adds nothing.

    Raises:
        InputError: there is no point, a row is not finite, a weight is negative, lengths differ, or p is below 1.

    Example:
        >>> compromise_distance([[0, 10], [1, 0]], [0.5, 0.25]).tolist()
        [0.5, 0.25]
    """
    if isinstance(p, bool | str) or not p >= 1:
        raise InputError(f"p must be at least 1 (2 for the straight line, infinity for the largest gap), found {p!r}")
    array = filled(points, "points")
    scales = non_negative([np.asarray(weights, dtype=np.float64).tolist()], array.shape[1])[0]
    gaps = np.where(spans(array) > 0, scales * (array.max(axis=0) - array) / ranges(array), 0.0)
    largest = gaps.max(axis=1)
    if math.isinf(p):
        return np.asarray(largest)
    # In units of each row's largest gap, so that a high power of a small gap does not vanish.
    unit = np.where(largest > 0, largest, 1.0)
    return np.asarray(largest * ((gaps / unit[:, None]) ** p).sum(axis=1) ** (1 / p))


def nearest_to_ideal(
    front: ParetoFront, weights: Mapping[str, float] | None = None, p: float = 2.0, non_dominated_only: bool = True
) -> Selection:
    """The point with the least `compromise_distance` from the ideal of the points that there are to choose from.

    Args:
        front (`ParetoFront`): what there is to choose from, maximised.
        weights (`Mapping[str, float]`, *optional*): how much a gap in each objective counts, as a share of the objective's range. Default: all the same. An
            objective left out does not count.
        p (`float`, *optional*, defaults to 2): of the norm, at least 1.
        non_dominated_only (`bool`, *optional*, defaults to `True`): leave out points that another dominates, from the choice and from ideal and ranges.

    Raises:
        InputError: an objective is unknown, weights are negative or all 0, or p is below 1.
    """
    scales = np.ones(len(front.objectives)) if weights is None else positive_weights(front, "compromise", weights)
    rows = candidates(front, non_dominated_only)
    rewards = front.rewards[rows]
    distance = compromise_distance(rewards, scales, p)
    # Of points equally far (likely with p = ∞) the one with the smallest sum of gaps: an objective without weight decides last of all.
    sums = compromise_distance(rewards, scales, 1.0)
    leftover = -(rewards / ranges(rewards)).sum(axis=1)
    index = int(rows[np.lexsort((leftover, sums, distance))[0]])
    ideal = rewards.max(axis=0)
    counted = ", ".join(f"{n} {z:.3f}" for n, z, w in zip(front.objectives, ideal, scales, strict=True) if w > 0)
    by = NORMS.get(float(p), f"the weighted L{p:g} norm")
    if distance.min() > 0:
        away = f"is nearest to the ideal ({counted}, which no point reaches alone): {distance.min():.3f} away by {by}, in units of the ranges"
    else:
        away = "is the best on everything that counts"
    return Selection(front.points[index], index, True, f"Point {index} {away}: {described(front, index)}.")
