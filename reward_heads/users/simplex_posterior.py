r"""Draws from what is known of users' weights after their pairs: importance sampling around the mode, for many users at once.

The posterior of a user's coordinates, $\mathcal{N}(\theta \mid m, S) \prod_i \sigma(t(\theta) \cdot \Delta_i)^{p_i} \sigma(-t(\theta) \cdot \Delta_i)^{1 - p_i}$, is skewed where pairs are
few, so a Gaussian around its mode is only where draws come from, not the answer: half are from $\mathcal{N}(\hat\theta, C)$, a quarter from $\mathcal{N}(\hat\theta, 4C)$ and a quarter
from the population, C the inverse of the Gauss-Newton curvature; each is weighted by posterior over mixture density ([Owen & Zhou, 2000](https://doi.org/10.1080/01621459.2000.10473909)).
The population's part bounds the weights by 4 times the likelihood.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reward_heads.users.simplex import Population

NEWTON_STEPS = 40
WIDE = 2.0  # the second Gaussian's standard deviations over the first one's
CHUNK = 4_000_000  # numbers held at once, users times draws times pairs
SHARES = (0.5, 0.25, 0.25)  # of draws around the mode, wider around it, and from the population


class Answers(NamedTuple):
    """Labelled pairs of H users, each padded to the longest list.

    Args:
        differences (`Tensor`): `[H, n, B]` float64; 0 where padded.
        labels (`Tensor`): `[H, n]`, the probability that a is better.
        known (`Tensor`): `[H, n]` float64, 1 for pairs, 0 for padding.
    """

    differences: Tensor
    labels: Tensor
    known: Tensor

    @classmethod
    def of(cls, differences: Tensor, labels: Tensor, user_of: Tensor, users: int) -> "Answers":
        """From `[N, B]` differences, `[N]` labels and `[N]` users, whose pairs may stand in any order."""
        counts = torch.bincount(user_of, minlength=users)
        order = user_of.argsort(stable=True)
        place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[user_of[order]]
        at = (user_of[order], place)
        longest = int(counts.max()) if users else 0
        padded = torch.zeros(users, longest, differences.shape[1], dtype=torch.float64)
        padded[at] = differences.double()[order]
        answers, known = torch.zeros(2, users, longest, dtype=torch.float64)
        answers[at], known[at] = labels.double()[order], 1.0
        return cls(padded, answers, known)

    def log_likelihood(self, tastes: Tensor) -> Tensor:
        """`[H, S, B]` tastes to `[H, S]` nats: each user's pairs by S tastes of his."""
        liked = torch.einsum("hn,hnb->hb", self.labels * self.known, self.differences)
        padding = (1 - self.known).sum(dim=1, keepdim=True) * math.log(2)  # softplus(0), where differences are 0
        total = torch.einsum("hsb,hb->hs", tastes, liked) + padding
        for some in self.differences.split(max(1, CHUNK // max(1, total.numel())), dim=1):
            total = total - F.softplus(tastes @ some.transpose(1, 2)).sum(dim=2)
        return total


class Proposal(NamedTuple):
    """Gaussians to draw H users' coordinates from.

    Args:
        mean (`Tensor`): `[H, P]`.
        root (`Tensor`): `[H, P, P]`, lower Cholesky factors of the covariances.
    """

    mean: Tensor
    root: Tensor


class Weighted(NamedTuple):
    """S weighted draws for each of H users.

    Args:
        theta (`Tensor`): `[H, S, P]`.
        log_likelihood (`Tensor`): `[H, S]`, of the user's pairs, nats.
        log_proposal (`Tensor`): `[H, S]`, log density that the draws came from.
        log_weight (`Tensor`): `[H, S]`, log of posterior (not normalised) over proposal.
    """

    theta: Tensor
    log_likelihood: Tensor
    log_proposal: Tensor
    log_weight: Tensor

    @property
    def share(self) -> Tensor:
        """`[H, S]`: weights with sum 1."""
        return torch.softmax(self.log_weight, dim=1)

    @property
    def effective(self) -> Tensor:
        """`[H]`: the number of equal draws that the weighted ones are worth, 1 / Σ share²."""
        return 1 / self.share.square().sum(dim=1)


def mode_of(population: Population, answers: Answers) -> Proposal:
    """The posterior modes of H users and the Gauss-Newton curvature there, by Levenberg-Marquardt steps."""
    users = len(answers.labels)
    prior = torch.linalg.inv(population.spread)
    theta = population.mean.expand(users, -1).clone()
    value = _log_posterior(population, prior, answers, theta)
    damping = torch.full((users,), 1e-3, dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        slope, curvature = _slope_and_curvature(population, prior, answers, theta)
        damped = curvature + torch.diag_embed(damping[:, None] * curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(damped, slope[..., None]).squeeze(-1)
        tried = _log_posterior(population, prior, answers, theta + step)
        better = tried >= value
        theta = torch.where(better[:, None], theta + step, theta)
        gain = torch.where(better, tried - value, torch.zeros_like(value))
        value = torch.where(better, tried, value)
        damping = torch.where(better, damping * 0.2, damping * 8).clamp(1e-9, 1e9)
        settled = torch.where(better, gain < 1e-7, step.abs().amax(dim=1) < 1e-6) | (damping > 1e6)
        if bool(settled.all()):
            break
    _, curvature = _slope_and_curvature(population, prior, answers, theta)
    return Proposal(theta, torch.linalg.cholesky(torch.linalg.inv(curvature)))


def draw(population: Population, answers: Answers, proposal: Proposal, base: Tensor) -> Weighted:
    """Weighted draws from the posteriors of H users.

    Args:
        population (`Population`): the prior.
        answers (`Answers`): their pairs.
        proposal (`Proposal`): about where the posteriors are.
        base (`Tensor`): `[H, S, P]` or `[1, S, P]` standard normal numbers.
    """
    first, second = (int(len(base[0]) * share) for share in SHARES[:2])
    mean, root = proposal.mean[:, None], proposal.root
    prior_root = torch.linalg.cholesky(population.spread)
    size = torch.ones(base.shape[1], 1, dtype=torch.float64)
    size[first : first + second] = WIDE
    around = mean + (base * size) @ root.transpose(1, 2)
    anywhere = (population.mean + base[:, first + second :] @ prior_root.T).expand(len(mean), -1, -1)
    theta = torch.cat([around[:, : first + second], anywhere], dim=1)
    scaled = _whitened(theta - mean, root)
    prior = log_normal(theta, population.mean, prior_root)
    density = torch.stack(
        [
            math.log(SHARES[0]) + _log_standard(scaled, root),
            math.log(SHARES[1]) + _log_standard(scaled / WIDE, root) - root.shape[1] * math.log(WIDE),
            math.log(SHARES[2]) + prior,
        ]
    ).logsumexp(dim=0)
    likelihood = answers.log_likelihood(population.tastes(theta))
    return Weighted(theta, likelihood, density, likelihood + prior - density)


def draw_all(population: Population, differences: Tensor, labels: Tensor, user_of: Tensor, base: Tensor) -> Weighted:
    """[`draw`] for many users, as many at once as fit in memory; users with about as many pairs go together, so that little is padded.

    Args:
        population (`Population`): the prior.
        differences (`Tensor`): `[N, B]`, of all users' pairs.
        labels (`Tensor`): `[N]`.
        user_of (`Tensor`): `[N]` int64, 0 to H - 1.
        base (`Tensor`): `[H, S, P]` standard normal numbers.
    """
    counts = torch.bincount(user_of, minlength=len(base))
    order, parts, start = counts.argsort(stable=True), [], 0
    rank = order.argsort()
    rows, ends = rank[user_of].argsort(stable=True), [0, *counts[order].cumsum(0).tolist()]
    few_first = counts[order].tolist()
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * base.shape[1] * max(few_first[end], 1) <= CHUNK:
            end += 1
        mine = rows[ends[start] : ends[end]]
        few = Answers.of(differences[mine], labels[mine], rank[user_of[mine]] - start, end - start)
        parts.append(draw(population, few, mode_of(population, few), base[order[start:end]]))
        start = end
    return Weighted(*(torch.cat(values)[rank] for values in zip(*parts, strict=True)))


def refitted(draws: Weighted) -> Proposal:
    """The Gaussians with the weighted draws' means and covariances."""
    share = draws.share
    mean = torch.einsum("hs,hsp->hp", share, draws.theta)
    centred = draws.theta - mean[:, None]
    covariance = torch.einsum("hs,hsp,hsq->hpq", share, centred, centred)
    floor = 1e-9 * covariance.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-9)
    covariance.diagonal(dim1=1, dim2=2).add_(floor[:, None])
    return Proposal(mean, torch.linalg.cholesky(covariance))


def log_normal(theta: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    """`[..., P]` to `[...]`: log density of a Gaussian with covariance `root @ root.T`."""
    return _log_standard(_whitened(theta - mean, root), root)


def normal_points(count: int, width: int, seed: int) -> Tensor:
    """`[count, width]` standard normal points that fill space evenly (a scrambled Sobol sequence)."""
    engine = torch.quasirandom.SobolEngine(max(width, 1), scramble=True, seed=seed)
    even = engine.draw(count, dtype=torch.float64)[:, :width]
    return torch.special.ndtri(even.clamp(1e-9, 1 - 1e-9))


def systematic(share: Tensor, count: int, offset: float = 0.5) -> Tensor:
    """`[count]` positions, each taken about `count * share` times: one evenly spaced comb over the cumulated shares `[S]`."""
    teeth = (torch.arange(count, dtype=torch.float64) + offset) / count
    return torch.searchsorted(share.cumsum(0) / share.sum(), teeth).clamp(max=len(share) - 1)


def _whitened(centred: Tensor, root: Tensor) -> Tensor:
    identity = torch.eye(root.shape[-1], dtype=root.dtype).expand_as(root)
    return centred @ torch.linalg.solve_triangular(root, identity, upper=False).transpose(-1, -2)


def _log_standard(scaled: Tensor, root: Tensor) -> Tensor:
    volume = root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    constant = 0.5 * scaled.shape[-1] * math.log(2 * math.pi)
    return -0.5 * scaled.square().sum(dim=-1) - (volume[..., None] if volume.dim() else volume) - constant


def _log_posterior(population: Population, prior: Tensor, answers: Answers, theta: Tensor) -> Tensor:
    centred = theta - population.mean
    likelihood = answers.log_likelihood(population.tastes(theta)[:, None])[:, 0]
    return likelihood - 0.5 * torch.einsum("hp,pq,hq->h", centred, prior, centred)


def _slope_and_curvature(
    population: Population, prior: Tensor, answers: Answers, theta: Tensor
) -> tuple[Tensor, Tensor]:
    x = answers.differences
    chance = torch.sigmoid(torch.einsum("hnb,hb->hn", x, population.tastes(theta)))
    jacobian = population.jacobian(theta)
    pull = torch.einsum("hn,hnb->hb", answers.known * (answers.labels - chance), x)
    slope = torch.einsum("hbp,hb->hp", jacobian, pull) - (theta - population.mean) @ prior
    inner = x @ jacobian
    curvature = torch.einsum("hn,hnp,hnq->hpq", answers.known * chance * (1 - chance), inner, inner)
    return slope, curvature + prior
