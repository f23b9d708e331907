"""Measure how far a front leaves its users from a utopia that has the best of everything: the R2 indicator.

Each user has weights and a utility; R2 is the mean over users of what the best point of the front still leaves to be wished. Smaller is better. A value
means nothing without its utopia point, as a hypervolume means nothing without its reference point.
"""

from typing import Literal

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError, unknown_name
from frontier.measure.dominance import as_points
from frontier.measure.rows import filled, non_negative

UTILITIES = ("tchebycheff", "weighted_sum")


def r2(
    points: ArrayLike,
    utopia: ArrayLike,
    weights: ArrayLike,
    utility: Literal["tchebycheff", "weighted_sum"] = "tchebycheff",
) -> float:
    r"""R2 over given users: the mean shortfall from the utopia point of each user's best point. Every objective is maximised; smaller is better.

    $$ R2(P, z, W) = \frac{1}{|W|} \sum_{w \in W} \min_{p \in P} \max_k w_k (z_k - p_k) \qquad \text{or, with weighted sums,} \qquad \frac{1}{|W|} \sum_{w \in W} \min_{p \in P} \sum_k w_k (z_k - p_k) $$

    (Hansen & Jaszkiewicz, *Evaluating the Quality of Approximations to the Non-dominated Set*, 1998; [Brockhoff et al.,
    2012](https://doi.org/10.1145/2330163.2330230).) With Tchebycheff utilities a point in a concave part of the front counts; with weighted sums it never
    does, and the value is the mean of $w^\top z$ minus EUM.

    Args:
        points (`ArrayLike`): $P$, `[n, K]`, finite, at least one.
        utopia (`ArrayLike`): $z$, `[K]`, finite, at least as good as every point in every objective. One for all the fronts that are compared.
        weights (`ArrayLike`): $W$, `[W, K]`, not negative, one user a row; `frontier.measure.lattice.weight_lattice` gives even ones.
        utility (`str`, *optional*, defaults to `"tchebycheff"`): or `"weighted_sum"`.

    Raises:
        InputError: points or weights are empty or not finite, a weight is negative, lengths differ, a point lies above the utopia point, or the utility is
        unknown.

    Example:
        >>> r2([[1, 3], [3, 1]], [4, 4], [[1, 0], [0.5, 0.5]])  # 1·(4 - 3), and 0.5·(4 - 1)
        1.25
    """
    if utility not in UTILITIES:
        raise unknown_name("utility", str(utility), UTILITIES)
    array, best = _below(points, utopia)
    users = non_negative(weights, len(best))
    if utility == "weighted_sum":
        return float((users @ (best - array).T).min(axis=1).mean())
    total = 0.0
    for user in users:  # [W, n, K] at once would fill the memory for a fine lattice
        total += float((user * (best - array)).max(axis=1).min())
    return total / len(users)


def r2_exact(points: ArrayLike, utopia: ArrayLike) -> float:
    r"""R2 with Tchebycheff utilities over *all* weights on the simplex, exactly, for two objectives (or one). Everything is maximised; smaller is better.

    $$ R2(P, z) = \int_0^1 \min_{p \in P} \max\{ w (z_1 - p_1),\ (1 - w)(z_2 - p_2) \}\, dw $$

    ([Schäpermeier & Kerschke, 2024](https://arxiv.org/abs/2407.01504).) Unlike R2 over a finite set of weights it sees every improvement. Computed with
    moocore.

    Args:
        points (`ArrayLike`): $P$, `[n, 2]` (or `[n, 1]`), finite, at least one. Dominated points and duplicates change nothing.
        utopia (`ArrayLike`): $z$, `[2]`, finite, at least as good as every point in every objective.

    Raises:
        InputError: there is no point, a row is not finite, there are more than two objectives, or a point lies above the utopia point.

    Example:
        >>> r2_exact([[0, 0]], [1, 1])  # the mean of max(w, 1 - w)
        0.75
    """
    array, best = _below(points, utopia)
    if len(best) == 1:  # the simplex is the one weight 1
        return float((best - array).min())
    if len(best) > 2:
        raise InputError(
            f"the exact R2 exists for up to 2 objectives, found {len(best)}: use r2 with the weights of a lattice"
        )
    return float(moocore.r2_exact(array, best, maximise=True))


def _below(points: ArrayLike, utopia: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    array = filled(points, "points")
    best = as_points(np.atleast_2d(np.asarray(utopia, dtype=np.float64)), "utopia point", array.shape[1])
    if len(best) != 1:
        raise InputError(f"the utopia point must be one point, found {len(best)} rows")
    bad = np.flatnonzero((array > best[0]).any(axis=1))
    if bad.size:
        raise InputError(
            f"the utopia point must be at least as good as every point in every objective, but row {int(bad[0])} is {array[bad[0]].tolist()} "
            f"and the utopia point {best[0].tolist()}: take the largest reward of everything that is compared"
        )
    return array, best[0]
