"""Lay weights of three objectives out in a triangle, and find where in it which point is the best choice."""

import math

import numpy as np
from numpy.typing import NDArray

from frontier.measure.lattice import partitions_for, weight_lattice

# Users over whom two fronts' EUM is compared, at most: each costs time in every draw of the interval.
EUM_WEIGHTS = 101
# Of even weights: a finer lattice shows nothing more.
MOST_PARTITIONS = 200
# Objective 1 at the lower left, 2 at the lower right, 3 at the top; sides of length 1.
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])


def triangle_places(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[n, 3]` weights (at least 0, not all 0) to `[n, 2]` places in the triangle: the mean of the corners, weighted."""
    places: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True) @ CORNERS
    return places


def best_regions(rewards: NDArray[np.float64]) -> list[tuple[int, NDArray[np.float64]]]:
    r"""Where in the triangle of weights each point has the largest utility $w^\top r_p$.

    $\{w : w^\top (r_p - r_q) \ge 0 \;\forall q\}$ is an intersection of half planes, so each region is a convex polygon; together they fill the triangle. Points that are best
    nowhere (dominated, or in a concave part of the front) have none; of equal points only the first has one.

    Args:
        rewards (`NDArray`): `[n, 3]`, maximised.

    Returns:
        `list`: `(index, [corners, 3] weights)`.
    """
    regions = []
    _, first = np.unique(rewards, axis=0, return_index=True)
    scale = max(float(np.ptp(rewards, axis=0).max()), np.finfo(float).tiny)
    for p in sorted(first.tolist()):
        polygon = np.eye(3)
        for q in first:
            if q != p and len(polygon):
                polygon = _clip(polygon, (rewards[p] - rewards[q]) / scale)
        if len(polygon) >= 3 and _area(polygon @ CORNERS) > 1e-9:
            regions.append((p, polygon))
    return regions


def _clip(polygon: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The part of a convex polygon (corners in order) where normal · w ≥ 0 (Sutherland and Hodgman, 1974)."""
    side = polygon @ normal
    kept = []
    for i in range(len(polygon)):
        j = (i + 1) % len(polygon)
        if side[i] >= 0:
            kept.append(polygon[i])
        if side[i] * side[j] < 0:
            kept.append(polygon[i] + (polygon[j] - polygon[i]) * side[i] / (side[i] - side[j]))
    return np.array(kept).reshape(-1, 3)


def _area(places: NDArray[np.float64]) -> float:
    x, y = places.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def even_weights(count: int, most: int) -> NDArray[np.float64]:
    """`[W, K]`, the finest even lattice over the simplex of at most so many weights (and 200 partitions), and at least the K corners."""
    return weight_lattice(count, min(partitions_for(count, most), MOST_PARTITIONS))
