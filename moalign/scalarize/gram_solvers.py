"""What turns inner products into weights: the two small convex problems behind UPGrad, DualProj and CAGrad, solved with scipy so that no extra solver has to be installed, and ConFIG."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from frontier.errors import InputError

Array = NDArray[np.float64]


def project_on_dual_cone(gramian: Array, weights: Array) -> Array:
    r"""Project $J^\top u$ onto $\{d : J d \geq 0\}$, the directions along which no row's objective gets worse ([Quinton & Rey, 2024](https://arxiv.org/abs/2406.16232)).

    Solves $\min_v v^\top G v$ subject to $v \geq u$ exactly, as non-negative least squares in $v - u$.

    Args:
        gramian (`Array`): `[K, K]`, $G = J J^\top$.
        weights (`Array`): `[K]`, u.

    Returns:
        `Array` `[K]`: v; the projection is $J^\top v$.
    """
    root = _root(gramian)
    return weights + nnls(root, -root @ weights)[0]


def cagrad_weights(gramian: Array, c: float) -> Array:
    r"""The weights of CAGrad's direction ([Liu et al., 2021](https://arxiv.org/abs/2110.14048), algorithm 1): as near to the mean gradient $g_0$ as the worst-off objective allows.

    $d = g_0 + c \|g_0\| \, g_w / \|g_w\|$ with $w = \arg\min_{w \in \Delta} g_w^\top g_0 + c \|g_0\| \|g_w\|$. Where the minimum lies at $g_w = 0$ no
    step helps the worst-off objective, and the weights are 0, as in torchjd.

    Args:
        gramian (`Array`): `[K, K]`.
        c (`float`): radius of the ball around $g_0$, in $[0, 1)$; 0 is the mean gradient.

    Raises:
        InputError: `c` is out of range.
    """
    if not 0 <= c < 1:
        raise InputError(f"CAGrad's c must be at least 0 and less than 1, found {c}")
    k = len(gramian)
    trace = float(np.trace(gramian))
    mean = np.full(k, 1 / k)
    if trace <= 0:
        return mean
    root = _root(gramian)
    centre = root @ mean
    radius = c * float(np.linalg.norm(centre))
    if radius == 0:
        return mean

    def value(w: Array) -> tuple[float, Array]:
        mixed = root @ w
        norm = float(np.linalg.norm(mixed))
        return float(mixed @ centre) + radius * norm, root.T @ (centre + radius * mixed / max(norm, 1e-12))

    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(k)}
    options = {"ftol": 1e-12, "maxiter": 500}
    starts = [mean, *np.eye(k)]
    found = [
        minimize(value, x, jac=True, method="SLSQP", bounds=[(0, 1)] * k, constraints=simplex, options=options)
        for x in starts
    ]
    # The norm has a kink at 0, where a single start may stop early.
    w = np.clip(min(found, key=lambda result: result.fun).x, 0, None)
    w /= w.sum()
    norm = float(np.linalg.norm(root @ w))
    return mean + radius / norm * w if norm > 1e-6 else np.zeros(k)


def config_weights(gramian: Array, weights: Array) -> Array:
    r"""The weights of ConFIG's direction ([Liu et al., 2024](https://arxiv.org/abs/2408.11104)): all gradients have the same cosine with it, or cosines in the ratio of a preference.

    With unit gradients $U = D^{-1} J$, $D = \mathrm{diag}(\|g_k\|)$, the direction is $u = U^+ w / \|U^+ w\|$ and the step $d = (\sum_k g_k^\top u) \, u$. As
    $U^+ = U^\top (U U^\top)^+$ the inner products are enough, and no pseudoinverse of a `[K, P]` matrix is taken, whose usual cutoff grows with P.

    Args:
        gramian (`Array`): `[K, K]`.
        weights (`Array`): `[K]`, w.

    Returns:
        `Array` `[K]`: the weights of the gradients in d; 0 where they cancel.
    """
    norms = np.sqrt(np.diag(gramian))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    units = gramian * inverse * inverse[:, None]
    mixed = np.linalg.pinv(units, rcond=1e-12, hermitian=True) @ weights
    squared = float(mixed @ units @ mixed)
    if squared <= 0:
        return np.zeros_like(mixed)
    result: Array = float(norms @ units @ mixed) / squared * mixed * inverse
    return result


def _root(gramian: Array) -> Array:
    """R with RᵀR = G / trace(G): rounding may leave eigenvalues slightly below 0, and only G's shape matters to the callers."""
    values, vectors = np.linalg.eigh(gramian / max(float(np.trace(gramian)), np.finfo(np.float64).tiny))
    root: Array = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    return root
