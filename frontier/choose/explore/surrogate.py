"""A Gaussian process from weights to each reward, conditioned on what was measured: what the rewards of unmeasured weights may be."""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from frontier.choose.explore.base import Array, Measured

# Beyond so many points the kernel's settings no longer change, and fitting them grows with the cube of the number.
MOST_FITTED = 100
# Of a reward's variance: keeps the matrices invertible when rewards are exact.
JITTER = 1e-8
SQRT5 = np.sqrt(5.0)


@dataclass(frozen=True)
class Kernel:
    """A Matérn 5/2 kernel with one length scale for each weight; in units where the rewards have variance 1."""

    variance: float
    lengths: Array

    def __call__(self, a: Array, b: Array) -> Array:
        """`[n, M]` and `[c, M]` to `[n, c]` covariances."""
        gap = a[:, None, :] / self.lengths - b[None, :, :] / self.lengths
        distance = SQRT5 * np.sqrt((gap**2).sum(axis=2))
        covariance: Array = self.variance * (1 + distance + distance**2 / 3) * np.exp(-distance)
        return covariance


class Surrogate:
    """Rewards at candidate weights, given measured ones: one independent Gaussian process for each objective, with the standard errors that were told.

    Args:
        known (`Measured`): at least two weights.
        candidates (`Array`): `[C, M]`, where to predict.
        kernels (`list[Kernel]`, *optional*): one each; fitted by maximum likelihood when not given.
    """

    def __init__(self, known: Measured, candidates: Array, kernels: list[Kernel] | None = None) -> None:
        self.location = known.rewards.mean(axis=0)
        spread = known.rewards.std(axis=0)
        self.scale = np.where(spread > 0, spread, 1.0)
        self.candidates = candidates
        self.weights = known.weights
        targets = (known.rewards - self.location) / self.scale
        noise = (known.errors / self.scale) ** 2 + JITTER
        self.kernels = kernels or [
            fit_kernel(known.weights, targets[:, k], noise[:, k]) for k in range(targets.shape[1])
        ]
        self._solved: list[Array] = []
        self.mean = np.empty((len(candidates), targets.shape[1]))
        self.variance = np.empty_like(self.mean)
        self.measured_mean = np.empty_like(targets)
        for k, kernel in enumerate(self.kernels):
            inner = kernel(self.weights, self.weights)
            lower = np.linalg.cholesky(inner + np.diag(noise[:, k])).astype(np.float64)
            solved = _solve(lower, kernel(self.weights, candidates))
            answer = _solve(lower, targets[:, k])
            self._solved.append(solved)
            self.mean[:, k] = solved.T @ answer
            self.variance[:, k] = np.maximum(kernel.variance - (solved**2).sum(axis=0), 0)
            self.measured_mean[:, k] = _solve(lower, inner).T @ answer
        self.measured_mean = self.measured_mean * self.scale + self.location

    def rewards(self) -> tuple[Array, Array]:
        """`[C, K]` means and standard deviations at the candidates, in the rewards' own units."""
        return self.mean * self.scale + self.location, np.sqrt(self.variance) * self.scale

    def believe(self, candidate: int) -> Self:
        """Take a candidate as if it had been measured and gave its mean: what others may give gets narrower, no mean moves."""
        for k, kernel in enumerate(self.kernels):
            row = slice(candidate, candidate + 1)
            solved = self._solved[k]
            across = kernel(self.candidates[row], self.candidates)[0] - solved[:, candidate] @ solved
            step = across / np.sqrt(max(across[candidate], 0) + JITTER)
            self._solved[k] = np.vstack([solved, step])
            self.variance[:, k] = np.maximum(self.variance[:, k] - step**2, 0)
        return self

    def draw(self, rows: NDArray[np.int64], n: int, generator: np.random.Generator) -> Array:
        """`[n, len(rows), K]` joint draws of the rewards at some candidates."""
        drawn = np.empty((n, len(rows), len(self.kernels)))
        places = self.candidates[rows]
        for k, kernel in enumerate(self.kernels):
            solved = self._solved[k][:, rows]
            covariance = kernel(places, places) - solved.T @ solved
            values, vectors = np.linalg.eigh(covariance)
            root = vectors * np.sqrt(np.maximum(values, 0))
            drawn[:, :, k] = self.mean[rows, k] + generator.standard_normal((n, len(rows))) @ root.T
        return drawn * self.scale + self.location


def fit_kernel(weights: Array, targets: Array, noise: Array) -> Kernel:
    """The kernel of highest likelihood, for at most 100 of the points, spread over the order in which they came.

    Args:
        weights (`Array`): `[n, M]`.
        targets (`Array`): `[n]`, of mean 0 and variance 1.
        noise (`Array`): `[n]` variances.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    rows = np.unique(np.linspace(0, len(weights) - 1, min(len(weights), MOST_FITTED)).round().astype(int))
    start = np.full(weights.shape[1], 0.5)
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(start, (0.05, 10.0), nu=2.5)
    model = GaussianProcessRegressor(kernel, alpha=noise[rows] + 1e-7)
    with warnings.catch_warnings():
        # A length scale at its limit is an objective that a weight doesn't move: nothing to warn of.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(weights[rows], targets[rows])
    fitted = model.kernel_
    return Kernel(float(fitted.k1.constant_value), np.array(fitted.k2.length_scale, dtype=np.float64))


def _solve(lower: Array, right: Array) -> Array:
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(lower, right, lower=True), dtype=np.float64)
