r"""Ridge regression with an intercept, for many penalties at once.

$$ \min_{b, \beta} \sum_i (t_i - b - \beta \cdot x_i)^2 + \alpha \|\beta\|^2 $$

([Hoerl & Kennard, 1970](https://doi.org/10.2307/1267351)).

With the eigenvectors $V$ and eigenvalues $s$ of the centred design: $\beta = V\,(s + \alpha)^{-1} V^\top X^\top (t - \bar t)$.
"""

from reward_heads.probes.spectrum import Array, Spectrum


def ridge(x: Array, targets: Array, spectrum: Spectrum, alphas: Array) -> tuple[Array, Array]:
    """Coefficients and intercepts.

    Args:
        x (`Array`): `[n, d]`.
        targets (`Array`): `[n]`.
        spectrum (`Spectrum`): of x after its mean is taken away.
        alphas (`Array`): `[A]`.

    Returns:
        `[A, d]` and `[A]`: prediction = intercept + coefficients · x.
    """
    centre, level = x.mean(axis=0), targets.mean()
    pull = spectrum.directions.T @ (x.T @ (targets - level))
    coefficients = (pull / (spectrum.values + alphas[:, None])) @ spectrum.directions.T
    return coefficients, level - coefficients @ centre


def degrees_of_freedom(spectrum: Spectrum, alpha: float) -> float:
    r"""How many parameters the penalised fit uses, without the intercept: $\sum_j s_j / (s_j + \alpha)$."""
    return float((spectrum.values / (spectrum.values + alpha)).sum())


def noise_variance(x: Array, targets: Array, coefficients: Array, intercept: float, used: float) -> float:
    """The variance of a rating around its expectation: squared residuals over n − 1 − `used` degrees of freedom."""
    residual = targets - intercept - x @ coefficients
    return max(float(residual @ residual) / max(len(x) - 1 - used, 1e-9), 1e-12)
