r"""Fit the variational latent: what all users share, the tastes in which they differ, and the encoder that finds a user's from labelled pairs.

The reward of a completion with features $f$ for a user $z$ is $z_0\, v_0 \cdot f + \sum_k z_k\, v_k \cdot f$ (bilinear, so every component has a meaning), with
$z_0 \sim \mathcal N(1, s_0^2)$ the weight on what is shared and $z_k \sim \mathcal N(0, 1)$ the tastes; V carries their size. Maximised is the evidence bound of
`reward_heads.users.latent_network` over random splits of each user's pairs into context and query, minus $\tfrac{\lambda}{2} \|V\|^2$. A taste in which users
don't differ shrinks to nothing.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reward_heads.probes.embedder import TextEmbedder
from reward_heads.users.choose import Likelihood, choose_number, clustered_mean, likelihood_table
from reward_heads.users.latent_config import LatentConfig
from reward_heads.users.latent_expectations import chance
from reward_heads.users.latent_model import LatentFit, LatentUsers
from reward_heads.users.latent_network import (
    Gaussians,
    PairEncoder,
    Prior,
    evidence_bound,
    infer,
)
from reward_heads.users.linear import LinearScorer
from reward_heads.users.observations import UserPairs, both_sides, read_user_pairs

logger = logging.getLogger(__name__)
ENCODER_RATE = (
    0.02  # of the components' learning rate: the encoder starts near its place, and must not run ahead of what it reads
)
START = 0.3  # tastes start at least this large, in nats; at 0 there is no slope


def fit_latent_users(
    features_a: Tensor,
    features_b: Tensor,
    labels: Tensor,
    users: Sequence[Any],
    config: LatentConfig | None = None,
) -> LatentUsers:
    """Variational preference learning on frozen features, in seconds ([Poddar et al., 2024](https://huggingface.co/papers/2408.10075)).

    Kept from the paper: a latent per user, inferred by a set encoder from any number of pairs, learned by the evidence bound. Otherwise than in its code, the
    divergence has weight 1, nothing is clamped or re-normalised, and training and use run the same inference; as in
    [SPL](https://huggingface.co/papers/2603.12595), swapped labels give the opposite taste, here by construction instead of by a loss.

    Args:
        features_a (`Tensor`): `[N, d]`, of the first completion of each pair. Only differences matter.
        features_b (`Tensor`): `[N, d]`, of the second one.
        labels (`Tensor`): `[N]`, the probability that a is better (0.5 = tie); NaN = missing.
        users (`Sequence`): N users; `None` = unknown. Pairs without a user or a label are left out.
        config (`LatentConfig`, *optional*): settings.

    Raises:
        InputError: shapes differ, a feature is not finite, there is a single user, or no pair can be held out.
    """
    config = config or LatentConfig()
    pairs, x = UserPairs.of_features(features_a, features_b, labels, users)
    train, held = pairs.split(config.held_out, config.seed)
    scorer = LinearScorer(x, pairs.labels, 1, config.ridge)
    model, _ = _trained(scorer, pairs, train, config.dims, config)
    components, units = _turned(model, scorer.x, pairs, train, config)
    tastes, table, gain = _choose(model, components, scorer.x, pairs, train, held, config)
    everything = torch.arange(len(pairs))
    model, (bound, divergence) = _trained(scorer, pairs, everything, tastes, config)
    components, _ = _turned(model, scorer.x, pairs, everything, config)
    found, prior = _posteriors(model, components, scorer.x, pairs, everything, config)
    result = LatentUsers(
        names=("shared",) * config.shared + tuple(f"taste{k + 1}" for k in range(tastes)),
        weights=components / scorer.unit,
        prior_mean=prior.mean,
        prior_variance=prior.variance,
        encoder=model.encoder.requires_grad_(False),
        refine=config.refine,
        users=pairs.users,
        counts=torch.bincount(pairs.user_of, minlength=len(pairs.users)),
        means=found.mean,
        precisions=found.precision,
        fit=LatentFit(bound, divergence, units, table, gain, len(pairs), len(held), config),
    )
    if not result.active_units():
        logger.warning("none of %d tastes is active: the pairs don't show that users differ", config.dims)
    return result


def fit_latent_texts(
    embedder: TextEmbedder,
    pairs: Iterable[Mapping[str, Any]],
    config: LatentConfig | None = None,
    *,
    objective: str | None = None,
) -> LatentUsers:
    """[`fit_latent_users`] on the vectors of texts.

    Args:
        embedder (`TextEmbedder`): makes them; the result keeps it.
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`, `user`; those without user or label are left out.
        config (`LatentConfig`, *optional*): settings.
        objective (`str`, *optional*): whose labels count; needed where pairs are labelled for several.

    Raises:
        InputError: a row is broken or a rating, no pair has a user and a label, or there is a single user.
    """
    known, examples, _ = read_user_pairs(pairs, objective)
    a, b = embedder.embed(*both_sides(examples)).chunk(2)
    users = [known.users[at] for at in known.user_of.tolist()]
    found = fit_latent_users(a, b, known.labels, users, config)
    return replace(found, embedder=embedder, fitted_on=embedder.fingerprint)


class _Model(nn.Module):
    """What is learned, in the scaled features of a [`LinearScorer`]."""

    def __init__(self, scorer: LinearScorer, pairs: UserPairs, rows: Tensor, dims: int, config: LatentConfig) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.encoder = PairEncoder(config.hidden)
            start = _tastes(scorer, pairs, rows, dims, config)
        self.shared = nn.Parameter(scorer.beta.clone()) if config.shared else None
        self.tastes = nn.Parameter(start)
        self.spread = nn.Parameter(torch.tensor(-1.0, dtype=torch.float64))
        self.least = config.least_spread

    def components(self) -> Tensor:
        return self.tastes if self.shared is None else torch.cat([self.shared, self.tastes])

    def prior(self) -> Prior:
        k = len(self.tastes)
        mean, variance = torch.zeros(k, dtype=torch.float64), torch.ones(k, dtype=torch.float64)
        if self.shared is None:
            return Prior(mean, variance)
        spread = (self.least + F.softplus(self.spread)).square()
        return Prior(F.pad(mean, (1, 0), value=1.0), torch.cat([spread[None], variance]))


def _tastes(scorer: LinearScorer, pairs: UserPairs, rows: Tensor, dims: int, config: LatentConfig) -> Tensor:
    """`[K, d]`: principal directions of what a single head gets wrong about each user, roughly in nats."""
    x, d = scorer.x[rows], scorer.x.shape[1]
    chances = torch.sigmoid(x @ scorer.beta[0]) if config.shared else torch.full((len(rows),), 0.5, dtype=torch.float64)
    pulls = torch.zeros(len(pairs.users), d, dtype=torch.float64)
    pulls.index_add_(0, pairs.user_of[rows], (pairs.labels[rows] - chances)[:, None] * x)
    counts = torch.bincount(pairs.user_of[rows], minlength=len(pulls)).double()
    found = pulls / (counts / (4 * d) + config.ridge)[:, None]  # one shrunken Newton step for each user
    _, sizes, directions = torch.linalg.svd(found, full_matrices=False)
    scale = (sizes / math.sqrt(len(found))).clamp(min=START)
    known = (scale[:, None] * directions)[:dims]
    return torch.cat([known, START * torch.randn(dims - len(known), d, dtype=torch.float64)])


def _trained(
    scorer: LinearScorer, pairs: UserPairs, rows: Tensor, dims: int, config: LatentConfig
) -> tuple[_Model, tuple[float, float]]:
    """A model with so many tastes, by Adam on the evidence bound; and the bound and its divergence over the last tenth of the steps, in nats per query pair."""
    scorer.fit(rows, torch.ones(len(rows), 1, dtype=torch.float64))
    model, x = _Model(scorer, pairs, rows, dims, config), scorer.x
    slow = list(model.encoder.parameters())
    fast = [weight for name, weight in model.named_parameters() if not name.startswith("encoder.")]
    rates: list[dict[str, Any]] = [{"params": fast}, {"params": slow, "lr": config.learning_rate * ENCODER_RATE}]
    optimizer = torch.optim.Adam(rates, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    generator = torch.Generator().manual_seed(config.seed)
    batches: Iterator[Tensor] = iter(())
    bounds, divergences = [], []
    for step in range(config.steps):
        some = next(batches, None)
        if some is None:
            batches = _batches(pairs, rows, config.batch_size, generator)
            some = next(batches)
        kl_weight = config.kl_weight * min(1.0, (step + 1) / max(1.0, config.warmup * config.steps))
        some, context = _draw(pairs.user_of[some], some, generator)
        ids, user_of = pairs.user_of[some].unique(return_inverse=True)
        components = model.components()
        fit, kl = evidence_bound(
            *(model.encoder, x[some] @ components.T, pairs.labels[some], user_of, context),
            *(len(ids), model.prior(), config.refine),
        )
        queries = int((~context).sum())
        bound = (fit - kl_weight * kl).sum() / queries
        loss = 0.5 * config.ridge * components.square().sum() / len(rows) - bound
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bounds.append(float(bound.detach()))
        divergences.append(float(kl.detach().sum()) / queries)
    last = max(1, config.steps // 10)
    return model.requires_grad_(False), (fmean(bounds[-last:]), fmean(divergences[-last:]))


def _batches(pairs: UserPairs, rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All pairs of some users at a time, until everybody has had a turn."""
    place = torch.empty(len(pairs.users), dtype=torch.long)
    place[torch.randperm(len(place), generator=generator)] = torch.arange(len(place))
    order = rows[place[pairs.user_of[rows]].argsort(stable=True)]
    turns = pairs.user_of[order].unique_consecutive(return_counts=True)[1].cumsum(0)
    start = 0
    for end in turns.tolist():
        if end - start >= size or end == len(order):
            yield order[start:end]
            start = end


def _draw(user_of: Tensor, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some pairs of each user, and which of them are context: none for half of the users, any number but all for the others."""
    order = torch.randperm(len(rows), generator=generator)
    order = order[user_of[order].argsort(stable=True)]
    _, at, counts = user_of[order].unique_consecutive(return_inverse=True, return_counts=True)
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[at]
    draws = torch.rand(4, len(counts), generator=generator, dtype=torch.float64)
    used = torch.where(draws[0] < 0.5, counts, (1 + draws[1] * counts).floor().long())
    inside = torch.where(draws[2] < 0.5, 0, (draws[3] * used).floor().long())
    chosen = rank < used[at]
    return rows[order[chosen]], (rank < inside[at])[chosen]


def _posteriors(
    model: _Model, components: Tensor, x: Tensor, pairs: UserPairs, rows: Tensor, config: LatentConfig
) -> tuple[Gaussians, Prior]:
    """What is known of every user from the pairs at `rows`, by the first components only."""
    prior = Prior(*(values[: len(components)] for values in model.prior()))
    known = (x[rows] @ components.T, pairs.labels[rows], pairs.user_of[rows])
    return infer(model.encoder, *known, len(pairs.users), prior, config.refine), prior


def _turned(
    model: _Model, x: Tensor, pairs: UserPairs, rows: Tensor, config: LatentConfig
) -> tuple[Tensor, tuple[float, ...]]:
    """Components whose tastes are the principal axes of users' posterior means, with their variances; the prior of tastes is round, so nothing else changes."""
    components, first = model.components(), int(config.shared)
    dims = len(components) - first
    if not dims:
        return components, ()
    means = _posteriors(model, components, x, pairs, rows, config)[0].mean[:, first:]
    values, axes = torch.linalg.eigh(torch.cov(means.T).reshape(dims, dims))
    tastes = axes.flip(1).T @ components[first:]
    largest = tastes.gather(1, tastes.abs().argmax(dim=1, keepdim=True))
    tastes = tastes * torch.where(largest < 0, -1.0, 1.0)
    return torch.cat([components[:first], tastes]), tuple(values.flip(0).tolist())


def _choose(
    model: _Model, components: Tensor, x: Tensor, pairs: UserPairs, rows: Tensor, held: Tensor, config: LatentConfig
) -> tuple[int, tuple[Likelihood, ...], tuple[float, float] | None]:
    """How many tastes held-out pairs ask for, the likelihood of each number, and what those tastes bring."""
    first = int(config.shared)
    if not len(held):
        return config.dims, (), None
    judged = {}
    for k in range(1 - first, config.dims + 1):
        found, _ = _posteriors(model, components[: first + k], x, pairs, rows, config)
        differences = x[held] @ components[: first + k].T
        judged[k] = _log_likelihood(found, differences, pairs.labels[held], pairs.user_of[held])
    owner = pairs.user_of[held]
    table = likelihood_table(judged, {k: k for k in judged}, owner)
    kept = choose_number(table, config.standard_errors)
    return kept, table, clustered_mean(judged[kept] - judged[1 - first], owner) if first else None


def _log_likelihood(found: Gaussians, differences: Tensor, labels: Tensor, owner: Tensor) -> Tensor:
    expected = chance(*found.margins(differences, owner)).clamp(1e-12, 1 - 1e-12)
    return labels * expected.log() + (1 - labels) * (1 - expected).log()
