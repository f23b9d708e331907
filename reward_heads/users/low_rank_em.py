r"""Learn a population of users, and the bases that they mix, from everybody's pairs: Monte Carlo expectation-maximisation.

The evidence $\sum_h \log \int \mathcal{N}(\theta \mid m, S) \prod_{i \in h} \sigma(\pm t(\theta)^\top V^\top x_i)\, d\theta$ is what rises, not the fit of single best guesses, which would take the noise of
few pairs for differences between users and make the population too wide. Each round draws every user's weights anew (`simplex_posterior`), always from the same random
numbers, so that rounds compare; then

- $m$ and $S$ become the weighted draws' mean and covariance, under a weak prior ($m \sim \mathcal{N}(m_0, 9 I)$, S as if P + 2 more users had been seen with $S_0$), repeated on the same
  draws, whose weights follow, until nothing moves;
- the bases, a logistic regression given the draws, take some quasi-Newton steps (with known objectives only one scale for all of them, if it is shared). They are pulled to the pooled
  taste by $\tfrac{\lambda}{2} \sum_b \|v_b - v_0\|^2$, $\lambda$ the number of directions that the pairs determine over the squared distance
  ([MacKay, 1992](https://doi.org/10.1162/neco.1992.4.3.415)): strong where users hardly differ, weak where they do.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from reward_heads.users.observations import UserPairs
from reward_heads.users.simplex import Population
from reward_heads.users.simplex_posterior import CHUNK, Weighted, draw_all, log_normal, systematic

MEAN_SPREAD = 3.0  # standard deviation of the weak prior on m
INNER, STILL = 50, 1e-4  # sweeps on the same draws; the change of m and S that ends them
KEPT = 32  # draws per user that the bases are fitted to
BASE_STEPS = 6  # quasi-Newton steps of the bases in a round
SETTLED = 1e-5  # nats per pair that a round has to gain
LEAST_RIDGE, MOST_RIDGE = 1e-5, 1e4


@dataclass(frozen=True)
class Fitted:
    """What expectation-maximisation has found.

    Args:
        population (`Population`): of the users.
        bases (`Tensor`): `[d, B]` float64, V.
        evidence (`tuple[float, ...]`): log evidence in each round, nats, estimated by the draws.
    """

    population: Population
    bases: Tensor
    evidence: tuple[float, ...]


def fit_population(
    x: Tensor,
    pairs: UserPairs,
    rows: Tensor,
    start: Population,
    bases: Tensor,
    *,
    anchor: Tensor | None = None,
    ridge: float | None = None,
    rounds: int = 20,
    draws: int = 256,
    seed: int = 0,
) -> Fitted:
    """Expectation-maximisation from a first guess.

    Args:
        x (`Tensor`): `[N, d]` float64, features of a minus features of b.
        pairs (`UserPairs`): N pairs.
        rows (`Tensor`): positions of those to learn from.
        start (`Population`): first guess; its mean and covariance are also the centres of the weak prior.
        bases (`Tensor`): `[d, B]`, first guess of V.
        anchor (`Tensor`, *optional*): `[d]`, the pooled taste, to which the bases are pulled; `None` leaves the bases as they are.
        ridge (`float`, *optional*): how strongly, λ/2 times the squared distance of each base; `None` = learned along.
        rounds (`int`): at most so many; fewer once a round gains next to nothing.
        draws (`int`): of each user's weights in every round.
        seed (`int`): of the draws.
    """
    seen, owner = pairs.user_of[rows].unique(return_inverse=True)
    x, labels = x[rows], pairs.labels[rows]
    base = torch.randn(len(seen), draws, start.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    population, evidence = replace(start, users=None), []
    pull = ridge or 1.0
    for _ in range(rounds if start.size else 0):
        differences = x @ bases
        found = draw_all(population, differences, labels, owner, base)
        population, value = _update(population, start, found)
        evidence.append(value)
        settled = len(evidence) > 1 and abs(evidence[-1] - evidence[-2]) < SETTLED * len(rows)
        log_weight = found.log_weight if anchor is not None or population.log_temperature is not None else None
        if log_weight is not None:
            prior = log_normal(found.theta, population.mean, torch.linalg.cholesky(population.covariance))
            share = torch.softmax(found.log_likelihood + prior - found.log_proposal, dim=1)
            kept = torch.stack([theta[systematic(s, KEPT)] for theta, s in zip(found.theta, share, strict=True)])
            tastes = population.tastes(kept)
            if anchor is not None:
                pull = ridge or learned_ridge(x, owner, tastes, bases, anchor, pull)
                bases = _fit_bases(x, labels, owner, tastes, bases, anchor, pull)
            else:
                population = _rescaled(population, differences, labels, owner, tastes)
        if settled:
            break
    return Fitted(replace(population, users=len(seen)), bases, tuple(evidence))


def _update(population: Population, centre: Population, found: Weighted) -> tuple[Population, float]:
    """The population that explains the draws best, and the log evidence that it was found from."""
    users, size = found.theta.shape[0], population.size
    weak = torch.eye(size, dtype=torch.float64) / MEAN_SPREAD**2
    like = size + 2
    evidence = None
    for _ in range(INNER):
        prior = log_normal(found.theta, population.mean, torch.linalg.cholesky(population.covariance))
        log_weight = found.log_likelihood + prior - found.log_proposal
        if evidence is None:
            evidence = float((log_weight.logsumexp(dim=1) - torch.tensor(log_weight.shape[1]).log()).sum())
        share = torch.softmax(log_weight, dim=1)
        precision = torch.linalg.inv(population.covariance)
        total = torch.einsum("hs,hsp->p", share, found.theta)
        mean = torch.linalg.solve(users * precision + weak, precision @ total + weak @ centre.mean)
        away = found.theta - mean
        scatter = torch.einsum("hs,hsp,hsq->pq", share, away, away)
        covariance = (scatter + like * centre.covariance) / (users + like)
        moved = max(
            float((mean - population.mean).abs().max()), float((covariance - population.covariance).abs().max())
        )
        population = replace(population, mean=mean, covariance=(covariance + covariance.T) / 2)
        if moved < STILL:
            break
    return population, evidence or 0.0


def _rescaled(population: Population, differences: Tensor, labels: Tensor, owner: Tensor, tastes: Tensor) -> Population:
    """One Newton step of the log of the temperature that all share, given draws of the users' tastes."""
    slope = curvature = 0.0
    for rows in torch.arange(len(labels)).split(max(1, CHUNK // tastes[0].numel())):
        margins = torch.einsum("nb,nrb->nr", differences[rows], tastes[owner[rows]])
        chance = torch.sigmoid(margins)
        slope += float(((labels[rows, None] - chance) * margins).sum())
        curvature += float((chance * (1 - chance) * margins.square()).sum())
    step = slope / curvature if curvature > 0 else 0.0
    assert population.log_temperature is not None
    return replace(population, log_temperature=population.log_temperature + max(-1.0, min(1.0, step)))


def _fit_bases(
    x: Tensor, labels: Tensor, owner: Tensor, tastes: Tensor, bases: Tensor, anchor: Tensor, ridge: float
) -> Tensor:
    """Some quasi-Newton steps of V on the pairs' expected log-likelihood under draws `[H, R, B]` of the users' weights."""
    weights = tastes[owner]

    def loss(guess: Tensor) -> tuple[Tensor, Tensor]:
        margins = torch.einsum("nb,nrb->nr", x @ guess, weights)
        value = (F.softplus(margins) - labels[:, None] * margins).sum() / KEPT
        pull = torch.einsum("nr,nrb->nb", torch.sigmoid(margins) - labels[:, None], weights) / KEPT
        away = guess - anchor[:, None]
        return value + 0.5 * ridge * away.square().sum(), x.T @ pull + ridge * away

    return minimise(loss, bases, BASE_STEPS)


def learned_ridge(x: Tensor, owner: Tensor, tastes: Tensor, bases: Tensor, anchor: Tensor, ridge: float) -> float:
    r"""MacKay's update of λ, given draws `[H, R, B]` of the users' weights: $\sum_b \sum_j e_{bj} / (e_{bj} + \lambda)$ over $\sum_b \|v_b - v_0\|^2$, e the eigenvalues of the curvature in each base."""
    mean, square = tastes.mean(dim=1), tastes.square().mean(dim=1)
    chance = torch.sigmoid(((x @ bases) * mean[owner]).sum(dim=1))
    slack = chance * (1 - chance)
    determined = 0.0
    for b in range(bases.shape[1]):
        sizes = torch.linalg.eigvalsh((x * (slack * square[owner, b])[:, None]).T @ x).clamp(min=0.0)
        determined += float((sizes / (sizes + ridge)).sum())
    distance = float((bases - anchor[:, None]).square().sum())
    return min(max(determined / max(distance, 1e-12), LEAST_RIDGE), MOST_RIDGE)


def minimise(loss: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, steps: int) -> Tensor:
    """Where L-BFGS with line searches ends; `loss` gives value and slope of a tensor like `start`."""
    guess = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([guess], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> float:
        with torch.no_grad():
            value, slope = loss(guess.detach())
        guess.grad = slope
        return float(value)

    optimizer.step(closure)
    return guess.detach()
