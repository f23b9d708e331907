r"""Penalised logistic regression with soft labels, for pairs, flags, and pairs and ratings together.

$$ \min_{b, \beta} \sum_i \ell_i(\eta_i) + \tfrac{\alpha}{2} \|\beta\|^2, \qquad \eta_i = \beta \cdot x_i + c_i\, b $$

with $\ell = \mathrm{softplus}(\eta) - p\,\eta$ for a label $p$ in [0, 1] (a flag has $c = 1$; a pair has $c = 0$ and $x$ = features of a minus features of b, so no intercept:
Bradley-Terry), and $\ell = (\eta - t)^2 / 2\sigma^2$ for a rating. α is scikit-learn's 1/C. Convex, so there is one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from reward_heads.probes.spectrum import Array, Spectrum

# So that the level of flags that are all alike in one fold stays finite. Too small to matter otherwise.
_LEVEL_PENALTY = 1e-8


@dataclass(frozen=True)
class Rows:
    """N labels and what they are about.

    Args:
        x (`Array`): `[n, d]`, features, or differences of features.
        level (`Array`): `[n]`, 1 where the intercept counts (flags, ratings), 0 for pairs.
        targets (`Array`): `[n]`, probabilities, or ratings.
        noise (`Array`): `[n]`, the variance of a rating, or 0 for a probability.
    """

    x: Array
    level: Array
    targets: Array
    noise: Array

    def take(self, at: Array) -> "Rows":
        """Some of the rows."""
        return Rows(self.x[at], self.level[at], self.targets[at], self.noise[at])

    def losses(self, eta: Array) -> Array:
        """`[n]` losses in nats of predictions `[n]`."""
        rated = self.noise > 0
        squared = np.square(eta - self.targets) / (2 * np.where(rated, self.noise, 1.0))
        return np.where(rated, squared, np.logaddexp(0.0, eta) - self.targets * eta)

    def slopes(self, eta: Array) -> Array:
        """`[n]` derivatives of the losses."""
        rated = self.noise > 0
        return np.where(rated, (eta - self.targets) / np.where(rated, self.noise, 1.0), expit(eta) - self.targets)

    def curvatures(self, eta: Array) -> Array:
        """`[n]` second derivatives of the losses."""
        rated = self.noise > 0
        return np.where(rated, 1 / np.where(rated, self.noise, 1.0), expit(eta) * expit(-eta))


def logistic(rows: Rows, spectrum: Spectrum, alphas: Sequence[float], *, polish: bool = False) -> tuple[Array, Array]:
    """Coefficients `[A, d]` and intercepts `[A]` for each penalty.

    Args:
        rows (`Rows`): n labels.
        spectrum (`Spectrum`): of `rows.x` as it is; its directions hold the solution, and its values tell the scale of each.
        alphas (`Sequence[float]`): penalties.
        polish (`bool`): end with Newton's method, to float precision. Without it, the loss is exact to about 1e-9.
    """
    inside = Rows(rows.x @ spectrum.directions, rows.level, rows.targets, rows.noise)
    steepest = np.where(rows.noise > 0, 1 / np.where(rows.noise > 0, rows.noise, 1.0), 0.25)
    found = np.zeros((len(alphas), inside.x.shape[1] + 1))
    start = np.zeros(inside.x.shape[1] + 1)
    for index in sorted(range(len(alphas)), key=lambda i: -alphas[i]):  # from stiff to loose: each starts near its end
        penalty = np.append(np.full(inside.x.shape[1], alphas[index]), _LEVEL_PENALTY * len(rows.x))
        curvature = np.append(spectrum.values, rows.level.sum()) * steepest.mean() + penalty
        start = _descend(inside, penalty, 1 / np.sqrt(curvature), start)
        found[index] = _newton(inside, penalty, start) if polish else start
    return found[:, :-1] @ spectrum.directions.T, found[:, -1]


def _predict(rows: Rows, parameters: Array) -> Array:
    return rows.x @ parameters[:-1] + rows.level * parameters[-1]


def _objective(rows: Rows, penalty: Array, parameters: Array) -> tuple[float, Array]:
    eta = _predict(rows, parameters)
    slopes = rows.slopes(eta)
    gradient = np.append(rows.x.T @ slopes, rows.level @ slopes) + penalty * parameters
    return float(rows.losses(eta).sum() + 0.5 * penalty @ np.square(parameters)), gradient


def _descend(rows: Rows, penalty: Array, unit: Array, start: Array) -> Array:
    """L-BFGS in coordinates in which the loss is about as curved in every direction."""

    def scaled(point: Array) -> tuple[float, Array]:
        loss, gradient = _objective(rows, penalty, point * unit)
        return loss, gradient * unit

    options = {"maxiter": 500, "gtol": 1e-6, "ftol": 1e-14}
    return minimize(scaled, start / unit, jac=True, method="L-BFGS-B", options=options).x * unit


def _newton(rows: Rows, penalty: Array, start: Array) -> Array:
    design = np.column_stack([rows.x, rows.level])
    point, (loss, gradient) = start, _objective(rows, penalty, start)
    for _ in range(10):
        curvature = (design * rows.curvatures(_predict(rows, point))[:, None]).T @ design
        curvature[np.diag_indices_from(curvature)] += penalty
        step = np.linalg.solve(curvature, gradient)
        following, slope = _objective(rows, penalty, point - step)
        if not following <= loss + 1e-12 * abs(loss):  # beyond float precision
            break
        point, loss, gradient = point - step, following, slope
        if float(gradient @ gradient) <= 1e-24 * (1 + loss):
            break
    return point
