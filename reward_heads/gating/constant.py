r"""The best weights that don't look at the prompt: what a gate has to beat.

With differences of rewards $\Delta_i$ and labels $p_i$ = probability that a is better, the coefficients $c = \alpha w \ge 0$ minimise the mean Bradley-Terry loss
$\mathrm{softplus}(c^\top \Delta_i) - p_i\, c^\top \Delta_i$, which is convex in $c$; then $\alpha = \sum_k c_k$ and $w = c / \alpha$.
"""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

# On squared coefficients (of columns with mean square 1): keeps labels that follow the rewards without exception from asking for an infinite scale.
_RIDGE = 1e-6


def constant_weights(differences: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    r"""Weights on the simplex and a scale, fitted to pairs.

    Args:
        differences (`Tensor`): `[N, K]`, rewards of a minus rewards of b, without NaN.
        labels (`Tensor`): `[N]`, the probability that a is better.

    Returns:
        `tuple[Tensor, float]`: `[K]` float32 weights and $\alpha \ge 0$. Where nothing helps, uniform weights and 0.
    """
    d, p = differences.double().numpy(), labels.double().numpy()
    unit = np.sqrt((d**2).mean(axis=0)) if len(d) else np.ones(d.shape[1])
    unit = np.where(unit > 0, unit, 1.0)
    x = d / unit

    def loss(c: np.ndarray) -> tuple[float, np.ndarray]:
        margin = x @ c
        value = float((np.logaddexp(0, margin) - p * margin).mean() + _RIDGE * (c**2).sum())
        return value, x.T @ (expit(margin) - p) / len(x) + 2 * _RIDGE * c

    bounds = [(0.0, None)] * d.shape[1]
    found = minimize(
        loss, np.full(d.shape[1], 0.5), jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12}
    )
    coefficients = torch.from_numpy(found.x / unit)
    scale = float(coefficients.sum())
    if scale <= 1e-9:
        return torch.full((d.shape[1],), 1 / d.shape[1]), 0.0
    return (coefficients / scale).float(), scale
