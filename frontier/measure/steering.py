r"""Say how well a policy obeys: whether more weight on an objective gives more of it, and whether trade-offs come out as they were asked for.

All of them need no reference point and don't depend on the units of the rewards: a shift or a positive scale of an objective changes nothing. Larger is
better. None of them says how *good* the rewards are: a policy that is worse everywhere can steer perfectly, so read them beside hypervolume and EUM.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.rows import on_simplex, paired, spans

# Two weights lie on one line to a vertex when the proportions of the other objectives agree to this: weights may come with six decimals.
ON_LINE = 1e-5
# Decimals to which weights are told apart: 0.3 and 1 - 0.7 are one weight.
DECIMALS = 9


def steering(weights: ArrayLike, rewards: ArrayLike) -> NDArray[np.float64]:
    """Whether asking for more of an objective gives more of it: Spearman's rank correlation between w_k and r_k, for each objective k.

    1 means that the rewards are ordered exactly as the weights (ties shared), 0 that they have nothing to do with each other. Weights that agree to nine decimals are equal.

    Args:
        weights (`ArrayLike`): `[W, K]`, finite.
        rewards (`ArrayLike`): `[W, K]`, finite; row i from the policy steered to row i of the weights.

    Returns:
        `NDArray[np.float64]`: `[K]`. NaN = not known: with fewer than two rows, or when the weight of the objective or its reward is the same in all rows,
            there is
        no order to compare.

    Raises:
        InputError: either is empty or not finite, or their shapes differ.
    """
    from scipy.stats import spearmanr  # a second to import, and only this function needs it

    users, points = paired(rewards, weights)
    users = np.round(users, DECIMALS)
    result, varied = np.full(users.shape[1], np.nan), spans(points) > 0
    for k in range(users.shape[1]):
        if np.ptp(users[:, k]) > 0 and varied[k]:
            result[k] = spearmanr(users[:, k], points[:, k]).statistic
    return result


def monotonicity(
    weights: ArrayLike, rewards: ArrayLike, *, ties: float = 0.5, lines: bool = False
) -> NDArray[np.float64]:
    r"""The share of pairs of policies in which more weight on objective k gives more of k.

    $$ M_k = \frac{\#\{(i, j): w_{ik} > w_{jk},\ r_{ik} > r_{jk}\} + t \cdot \#\{(i, j): w_{ik} > w_{jk},\ r_{ik} = r_{jk}\}}{\#\{(i, j): w_{ik} > w_{jk}\}} $$

    With $t = 1/2$ this is $(1 + D)/2$ for the $D$ of [Somers (1962)](https://doi.org/10.2307/2090408): 1 = always more, 1/2 = unrelated, 0 = always less.
    Pairs of equal weight (to nine decimals) say nothing and don't count.

    With three or more objectives $w_k$ may rise while the others change their proportions, and then even the best possible policy may give less of k.
    `lines=True` counts only the pairs on a line through the vertex of k, along which the other weights keep their proportions. There a policy that maximises
    $w^\top r$ exactly never gives less for more weight: raising $w_k$ and rescaling is the same as adding to $w_k$ alone. So anything below 1 (with
    `ties=1`) is a fault of the policy or noise. With two objectives all pairs lie on such a line.

    Args:
        weights (`ArrayLike`): `[W, K]`, finite; with `lines`, on the simplex.
        rewards (`ArrayLike`): `[W, K]`, finite; row i from the policy steered to row i of the weights.
        ties (`float`, *optional*, defaults to 0.5): $t$, from 0 to 1: what a pair of exactly equal rewards counts. 1 asks for "never less", 0 for "always
            more".
        lines (`bool`, *optional*, defaults to `False`): only pairs on a line through the vertex of objective k.

    Returns:
        `NDArray[np.float64]`: `[K]`; NaN = not known, where no pair counts.

    Raises:
        InputError: either is empty or not finite, their shapes differ, `ties` lies outside 0 to 1, or `lines` is asked for weights that are off the simplex.

    Example:
        >>> monotonicity([[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]], [[0, 3], [1, 3], [2, 1]]).tolist()  # the second: two of three pairs rise, one ties
        [1.0, 0.8333333333333334]
    """
    users, points = paired(rewards, weights)
    if not 0 <= ties <= 1:
        raise InputError(f"ties must lie between 0 and 1, found {ties}")
    if lines:
        on_simplex(users)
    users = np.round(users, DECIMALS)
    result = np.full(users.shape[1], np.nan)
    for k in range(users.shape[1]):
        more = users[:, None, k] > users[None, :, k]
        if lines:
            more &= _on_a_line(users, k)
        pairs = int(more.sum())
        if pairs:
            gain = points[:, None, k] - points[None, :, k]
            result[k] = ((more & (gain > 0)).sum() + ties * (more & (gain == 0)).sum()) / pairs
    return result


def trade_off_correlation(weights: ArrayLike, rewards: ArrayLike) -> float:
    r"""Whether the trade-offs that came out move with the trade-offs that were asked for: one correlation over all pairs of objectives.

    The trade-off asked for between objectives a and b is $w_a - w_b$; the one that came out is $u_a - u_b$, where $u_k$ is the reward scaled to run from 0
    to 1 over the policies. Their covariances and variances over the policies are summed over the pairs:

    $$ \rho = \frac{\sum_{a<b} \operatorname{Cov}(w_a - w_b,\, u_a - u_b)}{\sqrt{\sum_{a<b} \operatorname{Var}(w_a - w_b) \cdot \sum_{a<b} \operatorname{Var}(u_a - u_b)}} $$

    For two objectives this is Pearson's correlation of the two differences. 1: the realised trade-off is proportional to the requested one; 0: they are
    unrelated; -1: it goes the other way. Unlike `steering`, which asks for the order only, it falls when steering bunches the policies at the ends. The
    definition is this project's own.

    Args:
        weights (`ArrayLike`): `[W, K]`, finite.
        rewards (`ArrayLike`): `[W, K]`, finite; row i from the policy steered to row i of the weights. An objective that is the same everywhere (up to
            rounding, 1e-12 of its largest value) has $u = 0$: it never answers.

    Returns:
        `float`: from -1 to 1; NaN = not known, when no trade-off was varied in the request or none came out (one row, one objective, constant rewards).

    Raises:
        InputError: either is empty or not finite, or their shapes differ.

    Example:
        >>> trade_off_correlation([[1, 0], [0.5, 0.5], [0, 1]], [[3, 10], [2, 20], [1, 30]])
        1.0
    """
    users, points = paired(rewards, weights)
    extent = spans(points)
    unit = np.where(extent > 0, (points - points.min(axis=0)) / np.where(extent > 0, extent, 1.0), 0.0)
    # Σ_{a<b} (x_a - x_b)(y_a - y_b) = K Σ_k (x_k - x̄)(y_k - ȳ), so centring over the objectives stands for all the pairs.
    asked, came = (_centred(x) for x in (users, unit))
    scale = np.linalg.norm(asked) * np.linalg.norm(came)
    if scale == 0:
        return float("nan")
    return float(np.clip((asked * came).sum() / scale, -1.0, 1.0))


def _on_a_line(weights: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """`[W, W]`, whether the weights other than k have the same proportions in both rows; the vertex of k lies on every line."""
    others = np.delete(weights, k, axis=1)
    total = others.sum(axis=1)
    gap = abs(others[:, None, :] * total[None, :, None] - others[None, :, :] * total[:, None, None]).max(
        axis=2, initial=0.0
    )
    return np.asarray(gap <= ON_LINE * np.maximum(total[:, None], total[None, :]))


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred over the objectives, then over the policies; what is only rounding counts as 0."""
    differences = rows - rows.mean(axis=1, keepdims=True)
    centred = differences - differences.mean(axis=0)
    centred[abs(centred) < 1e-12 * max(1.0, abs(rows).max())] = 0.0
    return np.asarray(centred)
