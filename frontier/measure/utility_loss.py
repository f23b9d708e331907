"""Find the user who loses most when a front replaces a better one, and how much that user loses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.dominance import non_dominated
from frontier.measure.rows import filled, non_negative


@dataclass(frozen=True)
class UtilityLoss:
    """The largest loss and who bears it.

    Args:
        value (`float`): the loss in reward units; smaller is better, below 0 when no user loses.
        weights (`tuple[float, ...]`): `[K]`, on the simplex, of the user who loses most.
    """

    value: float
    weights: tuple[float, ...]


def mul(front_points: ArrayLike, reference_front: ArrayLike, weights: ArrayLike | None = None) -> float:
    r"""Maximum utility loss: what the worst-served user with a linear utility loses by choosing from the front instead of the reference front.

    $$ MUL(P, R, W) = \max_{w \in W} \Big[ \max_{q \in R} w^\top q - \max_{p \in P} w^\top p \Big] $$

    (Zintgraf et al., *Quality Assessment of MORL Algorithms: A Utility-Based Approach*, Benelearn 2015.) In reward units; smaller is better. A front has 0
    against itself; below 0, every user in $W$ gains. With `weights=None` $W$ is the whole simplex and the maximum exact (see `largest_loss`); over a finite
    $W$ of weights that sum to 1 it is never larger than that.

    Args:
        front_points (`ArrayLike`): $P$, `[n, K]`, finite, at least one.
        reference_front (`ArrayLike`): $R$, `[r, K]`, finite, at least one.
        weights (`ArrayLike`, *optional*): $W$, `[W, K]`, not negative, one user a row, whose loss grows with the sum of the weights. Default: all weights on the simplex.

    Raises:
        InputError: an array is empty or not finite, a weight is negative, or the columns differ.

    Example:
        >>> mul([[2, 0], [0, 2]], [[1.5, 1.5]], [[1, 0], [0.75, 0.25]])  # 1.5 - 2 and 1.5 - 1.5
        0.0
    """
    if weights is None:
        return largest_loss(front_points, reference_front).value
    users = non_negative(weights)
    points = filled(front_points, "front points", users.shape[1])
    reference = filled(reference_front, "reference points", users.shape[1])
    return float(_losses(users, points, reference).max())


def largest_loss(front_points: ArrayLike, reference_front: ArrayLike) -> UtilityLoss:
    r"""The maximum utility loss over the whole simplex, exactly, with the weights of the user who bears it.

    The maximum over users is a maximum over reference points of a linear program each:

    $$ \max_{q \in R}\ \max_{w, t}\ t \quad \text{s.t.} \quad w^\top (q - p) \ge t\ \ \forall p \in P, \quad w \ge 0, \quad \textstyle\sum_k w_k = 1 $$

    A reference point's program is at most $\min_p \max_k (q_k - p_k)$, its additive epsilon, so usually most of them need not be solved. Where the front is
    everywhere a little better, nearly all r are, each with n rows, so the time is at least quadratic: about 1 s for 400 points against 400 in 3 objectives. Exact up to
    the tolerance of the solver (HiGHS, about 1e-9 of the largest difference); the returned value is evaluated at the returned weights.

    Args:
        front_points (`ArrayLike`): $P$, `[n, K]`, finite, at least one.
        reference_front (`ArrayLike`): $R$, `[r, K]`, finite, at least one.

    Raises:
        InputError: either is empty or not finite, or their columns differ.

    Example:
        >>> largest_loss([[2, 0], [0, 2]], [[1.5, 1.5]])
        UtilityLoss(value=0.5, weights=(0.5, 0.5))
    """
    points = filled(front_points, "front points")
    reference = filled(reference_front, "reference points", points.shape[1])
    # Weights are not negative, so a dominated point is never the best for anyone.
    points, reference = (rows[non_dominated(rows)] for rows in (points, reference))
    bounds = np.array([(row - points).max(axis=1).min() for row in reference])
    best = UtilityLoss(-np.inf, ())
    for row in np.argsort(-bounds, kind="stable"):
        if bounds[row] <= best.value:
            break
        weights = _worst_weights(reference[row] - points)
        value = float(_losses(weights[None], points, reference)[0])
        if value > best.value:
            best = UtilityLoss(value, tuple(weights.tolist()))
    return best


def _losses(
    users: NDArray[np.float64], points: NDArray[np.float64], reference: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`[W]`. Both utilities by one routine and shape-independent order of summation, so that a front has exactly 0 against itself."""
    best = [np.einsum("wk,nk->wn", users, rows, optimize=False).max(axis=1) for rows in (reference, points)]
    return np.asarray(best[0] - best[1])


def _worst_weights(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[K]` weights on the simplex that maximise the smallest of `[n, K]` differences · w."""
    from scipy.optimize import linprog  # half a second to import

    n, k = differences.shape
    scale = max(float(abs(differences).max()), np.finfo(float).tiny)
    # Variables (w, t), where t may have any sign: maximise t with t - w·d <= 0.
    solved = linprog(
        np.append(np.zeros(k), -1.0),
        A_ub=np.column_stack([-differences / scale, np.ones(n)]),
        b_ub=np.zeros(n),
        A_eq=np.append(np.ones(k), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * k + [(None, None)],
        method="highs-ds",
    )
    if solved.x is None:
        raise InputError(f"the linear program for the largest loss could not be solved: {solved.message}")
    weights = np.maximum(solved.x[:k], 0.0)
    return np.asarray(weights / weights.sum())
