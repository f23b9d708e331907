"""Find the knee of a front: the point where giving up a little of one objective stops buying much of another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frontier.measure.rows import spans

# In units where each objective runs from 0 to 1: a bulge smaller than this is rounding, not a knee.
FLAT = 1e-9


@dataclass(frozen=True)
class Knee:
    """Which row is the knee, and a clause that says in which sense: "is the knee, ..."."""

    row: int
    why: str


def find_knee(points: NDArray[np.float64]) -> Knee:
    r"""The point furthest beyond the hyperplane through the extreme points ([Das, 1999](https://doi.org/10.1007/BF01195985)).

    Each objective is scaled to run from 0 to 1 over the points, and objectives in which all agree (up to rounding) are left out. The extreme point of objective k is the best in k (of
    several, the one with the largest sum). With E the matrix of extreme points and n the solution of E n = 1, the point with the largest n·r/‖n‖ - 1/‖n‖ is the knee.

    Three degenerate fronts get an answer that says what it is:

    - one point, or only one objective that varies: the best point;
    - extreme points that span no hyperplane with a positive normal (one point extreme in two objectives, say): the distance is taken along (1, ..., 1) instead;
    - no point beyond the hyperplane (a flat or inward front): there is no knee, and the balanced point, max min_k r_k, stands in.

    Args:
        points (`NDArray`): `[n, K]` non-dominated points, maximised, n at least 1.
    """
    extent = spans(points)
    varied = extent > 0
    if not varied.any():
        return Knee(0, "is the only point that no other dominates")
    unit = (points[:, varied] - points[:, varied].min(axis=0)) / extent[varied]
    total = unit.sum(axis=1)
    if unit.shape[1] == 1:
        return Knee(int(unit[:, 0].argmax()), "is the best in the only objective that varies, so the front has no knee")

    extremes = unit[[int(np.lexsort((-total, -unit[:, k]))[0]) for k in range(unit.shape[1])]]
    normal = np.ones(unit.shape[1])
    spanned = bool(np.linalg.matrix_rank(extremes) == len(extremes))
    if spanned:
        solved = np.linalg.solve(extremes, normal)
        spanned = bool((solved > 0).all())
    if not spanned:
        row = int(total.argmax())
        return Knee(
            row,
            "has the largest sum of rewards scaled to their ranges; the extreme points span no hyperplane that faces all objectives",
        )
    beyond = (unit @ solved - 1) / np.linalg.norm(solved)
    if beyond.max() <= FLAT:
        row = int(np.lexsort((-total, -unit.min(axis=1)))[0])
        return Knee(row, "is the most balanced one; the front is flat or bends inward, so it has no knee")
    row = int(beyond.argmax())
    return Knee(
        row,
        f"is the knee, {beyond[row]:.3f} beyond the {'line' if len(normal) == 2 else 'hyperplane'} through the extremes, in units of the ranges",
    )
