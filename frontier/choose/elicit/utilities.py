r"""What people may want, as random utilities over the candidates: plain weights, or a Gaussian process around a bent trade-off.

Every utility is a function of one vector of standard normal numbers (its *latent*), so that one sampler serves all of them. Utilities are stated as
shares of the person's own range over the candidates: 0 for the worst, 1 for the best.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr

Array = NDArray[np.float64]
# Bends beyond this can't be told from the limit (the worst objective alone counts), and would cost precision.
MOST_BENT = 20.0
# At exponent 0 the formula is a limit (Cobb-Douglas); this close to it, it is exact to three digits and needs no case of its own.
LEAST_EXPONENT = 0.02
# Logarithms need objectives above 0; and nobody wants a point infinitely less because it is the worst of the front on something.
MARGIN = 0.05


class Utilities(Protocol):
    """A family of utilities over n candidates."""

    @property
    def dimensions(self) -> int:
        """d, the length of a latent."""
        ...

    def weights(self, latent: Array) -> Array:
        """`[S, d]` latents to `[S, K]` weights, uniform on the simplex."""
        ...

    def values(self, latent: Array) -> Array:
        """`[S, d]` latents to `[S, n]` utilities of the candidates, from 0 (worst) to 1 (best)."""
        ...


def simplex_weights(latent: Array) -> Array:
    """`[S, K]` standard normal numbers to weights that are uniform on the simplex: K exponential numbers over their sum."""
    exponential = -log_ndtr(-latent)
    return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class LinearUtilities:
    """A weighted sum of the objectives, its weights uniform on the simplex before the first answer.

    Args:
        points (`NDArray`): `[n, K]` candidates, each objective from 0 to 1 over them.
    """

    points: Array

    @property
    def dimensions(self) -> int:
        """One normal number a weight."""
        return self.points.shape[1]

    def weights(self, latent: Array) -> Array:
        """`[S, d]` latents to `[S, K]` weights."""
        return simplex_weights(latent[:, : self.points.shape[1]])

    def values(self, latent: Array) -> Array:
        """`[S, d]` latents to `[S, n]` utilities."""
        return _to_shares(self.weights(latent) @ self.points.T)


class ProcessUtilities:
    r"""A Gaussian process whose mean is a bent trade-off: for people whose wishes are no weighted sum.

    The mean is, with equal chance, a utility of constant elasticity in what is gained (with exponent $\rho$ from 1, linear, over 0, Cobb-Douglas, to $-20$, near the
    worst objective alone; [Arrow et al., 1961](https://doi.org/10.2307/1927286)) or a distance to the ideal point in what is missing (with exponent $p$ from 1,
    linear, to 21, near Tchebycheff; [Zeleny, 1973](https://doi.org/10.1007/978-3-642-87563-2)),

    $$ u(z) = \Big(\sum_k w_k z_k^{\rho}\Big)^{1/\rho}
       \quad\text{or}\quad u(z) = -\Big(\sum_k \big(w_k (1 - z_k)\big)^{p}\Big)^{1/p}, $$

    so that linear utilities are among them; what both leave out is a Gaussian process with a squared-exponential kernel over the objectives.

    Args:
        points (`NDArray`): `[n, K]` candidates, each objective from 0 to 1 over them.
        lengthscale (`float`, *optional*, defaults to 0.5): of the process, in ranges of an objective.
        amplitude (`float`, *optional*, defaults to 0.1): standard deviation of the process, as a share of the range of utility.
    """

    def __init__(self, points: Array, lengthscale: float = 0.5, amplitude: float = 0.1) -> None:
        self.points = points
        squared = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
        values, vectors = np.linalg.eigh(np.exp(-squared / (2 * lengthscale**2)))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        kept = int(np.searchsorted(np.cumsum(values) / values.sum(), 0.99)) + 1
        # eigh leaves the sign of an eigenvector open; fixed, the same seed gives the same utilities everywhere.
        signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
        self._modes = amplitude * (vectors * signs * np.sqrt(values))[:, :kept].T
        self._kept = kept

    @property
    def dimensions(self) -> int:
        """One normal number a weight, one for the bend, one for its side, and those of the process that matter."""
        return self.points.shape[1] + 2 + self._kept

    def weights(self, latent: Array) -> Array:
        """`[S, d]` latents to `[S, K]` weights."""
        return simplex_weights(latent[:, : self.points.shape[1]])

    def values(self, latent: Array) -> Array:
        """`[S, d]` latents to `[S, n]` utilities."""
        k = self.points.shape[1]
        weights, share = self.weights(latent), ndtr(latent[:, k])
        bend = np.minimum(share / np.maximum(1.0 - share, 1e-9), MOST_BENT)  # from 0 (linear), median 1
        gains = latent[:, k + 1] > 0
        mean = np.empty((len(latent), len(self.points)))
        mean[gains] = self._gained(weights[gains], 1.0 - bend[gains])
        mean[~gains] = -self._missed(weights[~gains], 1.0 + bend[~gains])
        return _to_shares(_to_shares(mean) + latent[:, k + 2 :] @ self._modes)

    def _gained(self, weights: Array, exponent: Array) -> Array:
        rho = np.where(np.abs(exponent) < LEAST_EXPONENT, LEAST_EXPONENT, exponent)[:, None]
        logs = np.log((self.points + MARGIN) / (1.0 + MARGIN))
        return _power_mean(rho, rho[..., None] * logs + _log(weights)[:, None])

    def _missed(self, weights: Array, exponent: Array) -> Array:
        p = exponent[:, None]
        logs = np.log((1.0 - self.points + MARGIN) / (1.0 + MARGIN))
        return _power_mean(p, p[..., None] * (logs + _log(weights)[:, None]))


def _power_mean(exponent: Array, logs: Array) -> Array:
    """`[S, 1]` exponents and `[S, n, K]` logarithms of terms to `[S, n]`."""
    return np.asarray(np.exp(logsumexp(logs, axis=-1) / exponent))


def _log(weights: Array) -> Array:
    return np.log(np.maximum(weights, 1e-12))


def _to_shares(values: Array) -> Array:
    """Each row from 0 (its worst candidate) to 1 (its best)."""
    values = values - values.min(axis=1, keepdims=True)
    most = values.max(axis=1, keepdims=True)
    return np.asarray(values / np.where(most > 0, most, 1.0))
