r"""Draws from a posterior that importance sampling can't reach: from the population to the posterior by small steps.

Particles start in the population and follow $\mathcal{N}(\theta \mid m, S)\, L(\theta)^\lambda$ as $\lambda$ goes from 0 to 1, each step as large as leaves half of them effective
([Del Moral et al., 2006](https://doi.org/10.1111/j.1467-9868.2006.00553.x)); after each they are resampled and moved by elliptical slice sampling
([Murray et al., 2010](https://huggingface.co/papers/1001.0175)), which leaves every such distribution as it is and has nothing to tune.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from reward_heads.users.simplex_posterior import normal_points, systematic

MOVES = 8  # slice moves after each step
SHRINKS = 60  # an ellipse's bracket is a point long before


def tempered(
    mean: Tensor, root: Tensor, log_likelihood: Callable[[Tensor], Tensor], count: int, seed: int
) -> tuple[Tensor, int]:
    """Equally likely draws.

    Args:
        mean (`Tensor`): `[P]`, of the Gaussian prior.
        root (`Tensor`): `[P, P]`, Cholesky factor of its covariance.
        log_likelihood (`Callable`): `[S, P]` to `[S]`, nats.
        count (`int`): S.
        seed (`int`): of everything random.

    Returns:
        `[S, P]` draws, and the number of different particles that survived the last step, before they were moved: what the draws are worth at least.
    """
    generator = torch.Generator().manual_seed(seed)
    theta = mean + normal_points(count, len(mean), seed) @ root.T
    value = log_likelihood(theta)
    reached, survivors = 0.0, count
    while reached < 1:
        step = _step(value, 1 - reached)
        reached = 1.0 if step >= 1 - reached else reached + step
        kept = systematic(torch.softmax(step * value, dim=0), count, float(torch.rand((), generator=generator)))
        survivors = len(kept.unique())
        theta, value = theta[kept], value[kept]
        for _ in range(MOVES):
            theta, value = _slice_move(theta, value, mean, root, log_likelihood, reached, generator)
    return theta, survivors


def _step(value: Tensor, left: float) -> float:
    """The largest increase of λ, up to what is left, that keeps half of the particles effective."""

    def effective(step: float) -> float:
        return float(1 / torch.softmax(step * value, dim=0).square().sum()) / len(value)

    if effective(left) >= 0.5:
        return left
    low, high = 0.0, left
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= 0.5 else (low, middle)
    return max(low, 1e-12)


def _slice_move(
    theta: Tensor,
    value: Tensor,
    mean: Tensor,
    root: Tensor,
    log_likelihood: Callable[[Tensor], Tensor],
    power: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    def uniform() -> Tensor:
        return torch.rand(len(theta), generator=generator, dtype=torch.float64)

    other = torch.randn(theta.shape, generator=generator, dtype=torch.float64) @ root.T
    level = power * value + uniform().log()
    angle = 2 * math.pi * uniform()
    low, high = angle - 2 * math.pi, angle.clone()
    found, reached = theta.clone(), value.clone()
    open_ = torch.ones(len(theta), dtype=torch.bool)
    for _ in range(SHRINKS):
        tried = mean + (theta - mean) * angle.cos()[:, None] + other * angle.sin()[:, None]
        likelihood = log_likelihood(tried)
        inside = open_ & (power * likelihood >= level)
        found[inside], reached[inside] = tried[inside], likelihood[inside]
        open_ &= ~inside
        if not open_.any():
            break
        low, high = torch.where(angle < 0, angle, low), torch.where(angle < 0, high, angle)
        angle = low + (high - low) * uniform()
    return found, reached
