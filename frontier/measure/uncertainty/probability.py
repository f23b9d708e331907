"""Say of each point how likely it is to belong to the front, when the means that decide it are known only so well."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.uncertainty.samples import Samples, draws

# Comparisons of pairs of points in one block.
BLOCK = 8_000_000


@dataclass(frozen=True)
class NonDominated:
    """How likely each point is to be non-dominated.

    Args:
        probability (`tuple[float, ...]`): P values from 0 to 1.
        monte_carlo_error (`tuple[float, ...]`): P standard errors, of the finite number of draws alone.
        n_prompts (`int`), draws (`int`): what it rests on.
    """

    probability: tuple[float, ...]
    monte_carlo_error: tuple[float, ...]
    n_prompts: int
    draws: int


def posterior_non_dominated(rewards: ArrayLike, *, resamples: int = 4000, seed: int = 0) -> NonDominated:
    r"""The posterior probability that no other point dominates a point, under the Bayesian bootstrap ([Rubin, 1981](https://doi.org/10.1214/aos/1176345338)).

    Each draw weights the prompts at random (a flat Dirichlet), the same for all points, and asks of which points no other is at least as good in every
    objective and better in one. Points that are equal on every prompt don't dominate each other. With q the share of B draws, the Monte-Carlo error is
    $\sqrt{\tilde q (1 - \tilde q) / B}$ where $\tilde q = (B q + 1)/(B + 2)$, so that it isn't 0 at q = 0 or 1.

    Args:
        rewards (`ArrayLike`): `[P, N, K]`, maximised; row j is the same prompt for every point; NaN = not known, left out of that mean.
        resamples (`int`, *optional*, defaults to 4000): draws.
        seed (`int`, *optional*, defaults to 0): the same seed gives the same weights.

    Raises:
        InputError: fewer than 10 prompts, an infinite reward, or no draws.

    Example:
        >>> rewards = np.random.default_rng(0).normal([[[0, 1]], [[1, 0]], [[-1, -1]]], 0.5, (3, 50, 2))
        >>> posterior_non_dominated(rewards).probability
        (1.0, 1.0, 0.0)
    """
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, found {resamples}")
    samples = Samples.of(rewards)
    points, objectives = samples.shape
    found, rows = np.zeros(points), max(1, BLOCK // (points * points * objectives))
    for weights in draws(samples.n_prompts, resamples, seed, "dirichlet"):
        means = _alike(samples, samples.weighted(weights))
        for start in range(0, len(means), rows):
            found += _kept(means[start : start + rows]).sum(axis=0)
    smoothed = (found + 1) / (resamples + 2)
    error = np.sqrt(smoothed * (1 - smoothed) / resamples)
    return NonDominated(tuple((found / resamples).tolist()), tuple(error.tolist()), samples.n_prompts, resamples)


def _kept(means: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`[B, P, K]` to `[B, P]`: no other point is as good everywhere and better somewhere."""
    other, own = means[:, :, None, :], means[:, None, :, :]
    dominated = np.all(other >= own, axis=3) & np.any(other > own, axis=3)
    return np.logical_not(np.any(dominated, axis=1))


def _alike(samples: Samples, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means with those of equal columns made equal to the last bit: a matrix product may round them apart, and a tie must stay one."""
    columns = samples.values if samples.known is None else np.concatenate([samples.values, samples.known])
    _, first, which = np.unique(columns, axis=1, return_index=True, return_inverse=True)
    flat = means.reshape(len(means), -1)
    return flat[:, first[which.reshape(-1)]].reshape(means.shape)
