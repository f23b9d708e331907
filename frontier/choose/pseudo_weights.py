"""Choose the point that lies where someone with given weights would look for it on the front."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.choose.selection import Selection, candidates, described, listed, positive_weights, ranges
from frontier.errors import InputError
from frontier.front import ParetoFront
from frontier.measure.rows import filled, spans


def pseudo_weights(points: ArrayLike) -> NDArray[np.float64]:
    r"""Where each point lies among the others, as weights: the share of each objective in how far the point is from the worst of all objectives.

    $$ \omega_k(r) = \frac{(r_k - \min r_k) / (\max r_k - \min r_k)}{\sum_j (r_j - \min r_j) / (\max r_j - \min r_j)} $$

    (Deb, *Multi-Objective Optimization Using Evolutionary Algorithms*, 2001; turned to maximisation.) On a front that bulges outward the point with
    pseudo-weights ω is close to, but not the same as, the one that maximises ω·r; on an inward front it exists where no weighted sum would choose it.

    Args:
        points (`ArrayLike`): $r$, `[n, K]`, maximised, finite, at least one.

    Returns:
        `NDArray[np.float64]`: `[n, K]`, rows that sum to 1. An objective in which all points agree (up to rounding) says nothing about a place and has 0. NaN = not defined,
            for a point that is
        the worst in every objective (only a dominated one, or one alone).

    Raises:
        InputError: there is no point or a row is not finite.

    Example:
        >>> pseudo_weights([[0, 10, 7], [3, 5, 7], [4, 0, 7]]).tolist()
        [[0.0, 1.0, 0.0], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]]
    """
    array = filled(points, "points")
    low, extent = array.min(axis=0), spans(array)
    unit = np.where(extent > 0, (array - low) / np.where(extent > 0, extent, 1.0), 0.0)
    total = unit.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, unit / np.where(total > 0, total, 1.0), np.nan))


def nearest_to_place(front: ParetoFront, weights: Mapping[str, float], non_dominated_only: bool = True) -> Selection:
    """The point whose pseudo-weights differ least, in sum, from the wanted weights.

    Args:
        front (`ParetoFront`): what there is to choose from, maximised.
        weights (`Mapping[str, float]`): the wanted place, not negative; scaled to sum 1 over the objectives that vary. An objective left out has 0.
        non_dominated_only (`bool`, *optional*, defaults to `True`): leave out points that another dominates, from the choice and from the ranges.

    Raises:
        InputError: an objective is unknown, weights are negative or all 0, or all weight lies on objectives in which the points agree.
    """
    wanted = positive_weights(front, "pseudo_weights", weights)
    rows = candidates(front, non_dominated_only)
    rewards = front.rewards[rows]
    varied = spans(rewards) > 0
    if not varied.any():
        index = int(rows[0])
        only = "the only point to choose" if len(rows) == 1 else "as good as every other"
        return Selection(front.points[index], index, True, f"Point {index} is {only}: {described(front, index)}.")
    constant = [name for name, v in zip(front.objectives, varied, strict=True) if not v]
    if not wanted[varied].any():
        raise InputError(
            f"all points agree in {' and '.join(constant)}, so weights on that alone name no place on the front; give weight to another objective"
        )
    place = np.where(varied, wanted, 0.0) / wanted[varied].sum()
    own = pseudo_weights(rewards)
    distance = np.nan_to_num(abs(own - place).sum(axis=1), nan=np.inf)
    # Points in one direction from the worst have the same place: then the one further out.
    total = ((rewards - rewards.min(axis=0)) / ranges(rewards)).sum(axis=1)
    row = int(np.lexsort((-total, np.round(distance, 12)))[0])
    index = int(rows[row])
    reason = f"Point {index} lies nearest to the wanted place ({listed(front, place)}): its pseudo-weights are {listed(front, own[row], '.3f')}"
    ignored = f" All points agree in {' and '.join(constant)}, which therefore does not count." if constant else ""
    return Selection(front.points[index], index, True, f"{reason}, its rewards {described(front, index)}.{ignored}")
