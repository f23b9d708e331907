"""Tell apart how good a set of policies is from how well it does what it is asked.

EUM takes, for every user, the best point of the front; MIP takes the point that answers to that user's weights. Their difference is what is lost because
the policy isn't steered exactly. Larger is better for EUM and MIP, smaller for the gap. `steering` (in its own file) says objective by objective whether asking
for more gives more.
"""

from numpy.typing import ArrayLike

from frontier.measure.rows import filled, paired
from frontier.measure.steering import steering

USERS_AT_ONCE = 1_024  # whose utilities from all points are held in memory together

__all__ = ["controllability_gap", "eum", "mip", "steering"]


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
    users = filled(weights, "weights")
    points = filled(front_points, "front points", users.shape[1])
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
    users, points = paired(points_for_weights, weights)
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
    users, points = paired(points_for_weights, weights)
    total = 0.0
    for start in range(0, len(users), USERS_AT_ONCE):
        # The products are formed alike for the best and for the own point: two routines could differ in the last bit and give a gap below 0.
        utility = users[start : start + USERS_AT_ONCE] @ points.T
        total += float((utility.max(axis=1) - utility.diagonal(start)).sum())
    return total / len(users)
