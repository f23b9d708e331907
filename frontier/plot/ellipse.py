"""Outline the region in which a point's mean rewards lie, as an ellipse: prompts that please one objective often cost another, and only a tilted region shows that."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

LEVEL = 0.95


def confidence_ellipse(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    n_prompts: int,
    level: float = LEVEL,
    corners: int = 49,
) -> NDArray[np.float64] | None:
    r"""The outline of Hotelling's region for two means, which contains the truth with probability `level` where rewards are normal (nearly so for many prompts).

    $$ \{x : (x - \bar r)^\top \Sigma^{-1} (x - \bar r) \le \tfrac{2 (n - 1)}{n - 2} F_{2, n - 2}(\text{level})\} $$

    Args:
        mean (`NDArray`): `[2]`, $\bar r$.
        covariance (`NDArray`): `[2, 2]`, $\Sigma$ of the mean; it may be singular, which gives a line or a point.
        n_prompts (`int`): n that mean and covariance are over; the fewer where the two means rest on different numbers.
        level (`float`, *optional*, defaults to 0.95): between 0 and 1.
        corners (`int`, *optional*): of the polygon, the last equal to the first.

    Returns:
        `NDArray` or `None`: `[corners, 2]`, `None` where the covariance is not known or below three prompts, where no region has this level.
    """
    if n_prompts < 3 or not np.isfinite(covariance).all():
        return None
    radius = 2 * (n_prompts - 1) / (n_prompts - 2) * fdtri(2, n_prompts - 2, level)
    values, axes = np.linalg.eigh(covariance)
    # A singular matrix has eigenvalues that rounding may put below 0.
    reach = np.sqrt(np.maximum(values, 0.0) * radius)
    turn = np.linspace(0.0, 2.0 * np.pi, corners)
    outline: NDArray[np.float64] = mean + (np.stack([np.cos(turn), np.sin(turn)], axis=1) * reach) @ axes.T
    return outline
