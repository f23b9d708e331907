r"""Averages of the logistic curve over a Gaussian, in closed form: what inference over users asks for in every step.

The logistic function is a mixture of normal distribution functions, $\sigma(\eta) \approx \sum_k w_k \Phi(s_k \eta)$
([Monahan & Stefanski, 1992](https://www.taylorfrancis.com/chapters/edit/10.1201/9781482295177-39)); five of them are within 7e-7 everywhere. With $\eta \sim \mathcal N(\mu, v)$, $a_k^2 = s_k^{-2} + v$ and
$u_k = \mu / a_k$ each average is then exact: $E\sigma = \sum w_k \Phi(u_k)$, $E\sigma' = \sum w_k \varphi(u_k) / a_k$,
$E\,\mathrm{softplus} = \sum w_k a_k [u_k \Phi(u_k) + \varphi(u_k)]$. Quadrature would need more points the less is known of $\eta$.
"""

import math

import torch
from torch import Tensor

# Least largest error of the mixture on the real line, w summing to 1.
_WEIGHTS = (0.02270138, 0.20357831, 0.42738595, 0.29991635, 0.04641801)
_SLOPES = (0.2908414, 0.40936707, 0.57329344, 0.79961689, 1.11751175)


def chance_and_slope(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    r"""$E[\sigma(\eta)]$ and $E[\sigma'(\eta)]$ for $\eta \sim \mathcal N(\text{mean}, \text{variance})$: `[N]` each."""
    weights, root, at, density = _mixture(mean, variance)
    return torch.special.ndtr(at) @ weights, (density / root) @ weights


def chance(mean: Tensor, variance: Tensor) -> Tensor:
    r"""$E[\sigma(\eta)]$: the probability that a is preferred, whatever the user may be like; `[N]` each."""
    weights, _, at, _ = _mixture(mean, variance)
    return torch.special.ndtr(at) @ weights


def expected_log_likelihood(mean: Tensor, variance: Tensor, labels: Tensor) -> Tensor:
    r"""$E[p\, \eta - \mathrm{softplus}(\eta)]$ in nats, p being the label: `[N]` each."""
    weights, root, at, density = _mixture(mean, variance)
    return labels * mean - (root * (at * torch.special.ndtr(at) + density)) @ weights


def _mixture(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W `[5]`, and a, u and φ(u), `[N, 5]` each."""
    weights, slopes = (torch.tensor(values, dtype=mean.dtype) for values in (_WEIGHTS, _SLOPES))
    root = (slopes.reciprocal().square() + variance[:, None]).sqrt()
    at = mean[:, None] / root
    return weights / weights.sum(), root, at, torch.exp(-0.5 * at.square()) / math.sqrt(2 * math.pi)
