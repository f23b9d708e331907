"""Tell apart how good a set of policies is from how well it does what it is asked.

EUM takes, for every user, the best point of the front; MIP takes the point that answers to that user's weights. Their difference is what is lost because
the policy isn't steered exactly, and `steering` says objective by objective whether asking for more gives more.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.dominance import as_points


def eum(front_points: ArrayLike, weights: ArrayLike) -> float:
    r"""Expected utility metric: the value of the front to users with linear utilities who may each pick their best point.

    $$ EUM(P, W) = \frac{1}{|W|} \sum_{w \in W} \max_{p \in P} w^\top p $$

    (Zintgraf et al., *Quality Assessment of MORL Algorithms: A Utility-Based Approach*, Benelearn 2015.)

    Args:
        front_points (`ArrayLike`): $P$, `[n, K]`, maximised rewards.
        weights (`ArrayLike`): $W$, `[W, K]`, one user a row.

    Raises:
        InputError: either is empty or not finite, or their columns differ.

    Example:
        >>> eum([[1, 0], [0, 1]], [[0.75, 0.25], [0.5, 0.5]])
        0.625
    """
    users = _filled(weights, "weights")
    points = _filled(front_points, "front points", users.shape[1])
    return float((users @ points.T).max(axis=1).mean())


def mip(points_for_weights: ArrayLike, weights: ArrayLike) -> float:
    r"""Mean inner product: the value to users who each get the policy that was steered to their weights.

    $$ MIP = \frac{1}{|W|} \sum_{i} w_i^\top s(w_i) $$

    Args:
        points_for_weights (`ArrayLike`): $s(w_i)$, `[W, K]`: row i is the mean reward vector of the policy steered to row i of the weights.
        weights (`ArrayLike`): $w_i$, `[W, K]`.

    Raises:
        InputError: either is empty or not finite, or their shapes differ.

    Example:
        >>> mip([[1, 0], [0, 1]], [[0.75, 0.25], [0.5, 0.5]])
        0.625
    """
    users, points = _paired(points_for_weights, weights)
    return float((users * points).sum(axis=1).mean())


def controllability_gap(points_for_weights: ArrayLike, weights: ArrayLike) -> float:
    """What is lost because asking for w does not give the best point for w: EUM - MIP over the same points and weights.

    It is 0 when every user gets the point that is best for them among all that exist, and never negative.

    Args:
        points_for_weights (`ArrayLike`): `[W, K]`, row i from the policy steered to row i of the weights.
        weights (`ArrayLike`): `[W, K]`.

    Raises:
        InputError: either is empty or not finite, or their shapes differ.

    Example:
        >>> controllability_gap([[0, 1], [1, 0]], [[1, 0], [0, 1]])  # each user gets the other's point
        1.0
    """
    users, points = _paired(points_for_weights, weights)
    # The products are formed alike for the best and for the own point: two routines could differ in the last bit and give a gap below 0.
    utility = users @ points.T
    return float((utility.max(axis=1) - utility.diagonal()).mean())


def steering(weights: ArrayLike, rewards: ArrayLike) -> NDArray[np.float64]:
    """Whether asking for more of an objective gives more of it: Spearman's rank correlation between w_k and r_k, for each objective k.

    1 means that the rewards are ordered exactly as the weights (ties shared), 0 that they have nothing to do with each other.

    Args:
        weights (`ArrayLike`): `[W, K]`, finite.
        rewards (`ArrayLike`): `[W, K]`, finite; row i from the policy steered to row i of the weights.

    Returns:
        `NDArray[np.float64]`: `[K]`. NaN = not known: with fewer than two rows, or when the weight of the objective or its reward is the same in all rows, there is
        no order to compare.

    Raises:
        InputError: either is empty or not finite, or their shapes differ.
    """
    from scipy.stats import spearmanr  # a second to import, and only this function needs it

    users, points = _paired(rewards, weights)
    result = np.full(users.shape[1], np.nan)
    for k in range(users.shape[1]):
        if np.ptp(users[:, k]) > 0 and np.ptp(points[:, k]) > 0:
            result[k] = spearmanr(users[:, k], points[:, k]).statistic
    return result


def _filled(rows: ArrayLike, what: str, columns: int | None = None) -> NDArray[np.float64]:
    array = as_points(rows, what, columns)
    if array.size == 0:
        raise InputError(f"there are no {what}: this indicator is a mean, which needs at least one")
    return array


def _paired(rewards: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and points of equal shape, in this order."""
    users = _filled(weights, "weights")
    points = _filled(rewards, "points", users.shape[1])
    if len(users) != len(points):
        raise InputError(
            f"row i of the points belongs to row i of the weights: found {len(points)} points and {len(users)} weights"
        )
    return users, points
