"""Fit low-rank user models: bases, population and rank, from who preferred what."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.users.choose import choose_number, likelihood_table
from reward_heads.users.em import pair_log_likelihood
from reward_heads.users.linear import LinearScorer
from reward_heads.users.low_rank import LowRankUsers
from reward_heads.users.low_rank_config import LowRankConfig
from reward_heads.users.low_rank_em import Fitted, fit_population, learned_ridge
from reward_heads.users.low_rank_start import first_guess
from reward_heads.users.observations import UserPairs, both_sides, read_user_pairs
from reward_heads.users.simplex import Population, contrasts
from reward_heads.users.simplex_posterior import draw_all
from reward_heads.users.simplex_users import seen_users

RIDGE_STEPS = 8
logger = logging.getLogger(__name__)


def fit_low_rank_users(
    features_a: Tensor,
    features_b: Tensor,
    labels: Tensor,
    users: Sequence[Any],
    config: LowRankConfig | None = None,
) -> LowRankUsers:
    r"""Low-rank rewards ([LoRe, Bose et al., 2025](https://huggingface.co/papers/2504.14439)) on frozen features: $r_u = \phi^\top V w_u$ with w_u on the simplex, rank by held-out likelihood.

    Kept from the paper: the model, and that someone new fits only w. Otherwise than in its code: the population of users is learned along (a logistic normal, by
    Monte Carlo expectation-maximisation, see `reward_heads.users.low_rank_em`), so that few pairs give a shrunken, honest posterior and none gives the population; logits are not
    divided by 100; bases are pulled to the pooled taste; several starts.

    Args:
        features_a (`Tensor`): `[N, d]`, of the first completion of each pair. Only differences matter.
        features_b (`Tensor`): `[N, d]`, of the second one.
        labels (`Tensor`): `[N]`, the probability that a is better; NaN = missing.
        users (`Sequence`): N users; `None` = unknown. Pairs without a user or a label are left out.
        config (`LowRankConfig`, *optional*): settings.

    Raises:
        InputError: shapes differ, a feature is not finite, there is a single user, or a rank is higher than the number of users or of features plus one.
    """
    config = config or LowRankConfig()
    pairs, x = UserPairs.of_features(features_a, features_b, labels, users)
    most, with_pairs = max(config.candidates), len(pairs.user_of.unique())
    if most > min(with_pairs, x.shape[1] + 1):
        name = "max_rank" if config.rank is None else "rank"
        raise InputError(
            f"{name} is {most}, but {with_pairs} users with labelled pairs and {x.shape[1]} features allow at most {min(with_pairs, x.shape[1] + 1)}"
        )
    scorer = LinearScorer(x, pairs.labels, 1, config.ridge or 1.0)  # for its scaled features
    table, rank = _choose(scorer, pairs, config)
    found = _ordered(_fit(scorer, pairs, torch.arange(len(pairs)), rank, config))
    seen = seen_users(found.population, scorer.x @ found.bases, pairs.labels, pairs.user_of, pairs.users, config.seed)
    bases = found.bases / scorer.unit[:, None]
    return LowRankUsers(found.population, seen, None, config.samples, config.seed, bases, table)


def fit_low_rank_texts(
    embedder: TextEmbedder,
    pairs: Iterable[Mapping[str, Any]],
    config: LowRankConfig | None = None,
    *,
    objective: str | None = None,
) -> LowRankUsers:
    """[`fit_low_rank_users`] on the vectors of texts.

    Args:
        embedder (`TextEmbedder`): makes them; the result keeps it.
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`, `user`; those without user or label are left out.
        config (`LowRankConfig`, *optional*): settings.
        objective (`str`, *optional*): whose labels count; needed where pairs are labelled for several.

    Raises:
        InputError: a row is broken or a rating, no pair has a user and a label, or there is a single user.
    """
    known, examples, name = read_user_pairs(pairs, objective)
    a, b = embedder.embed(*both_sides(examples)).chunk(2)
    users = [known.users[at] for at in known.user_of.tolist()]
    found = fit_low_rank_users(a, b, known.labels, users, config)
    return LowRankUsers(**{**vars(found), "objective": name, "embedder": embedder, "fitted_on": embedder.fingerprint})


def _choose(scorer: LinearScorer, pairs: UserPairs, config: LowRankConfig) -> tuple[tuple, int]:
    """Held-out likelihood by rank, and the rank that it asks for."""
    if config.held_out == 0:
        return (), config.candidates[0]
    train, held = pairs.split(config.held_out, config.seed)
    predicted = {}
    for rank in config.candidates:
        predicted[rank] = _predicted(scorer, pairs, train, held, _fit(scorer, pairs, train, rank, config), config)
        logger.info("rank %d: held-out log-likelihood %.4f per pair", rank, predicted[rank].mean())
    table = likelihood_table(predicted, {rank: rank for rank in predicted}, pairs.user_of[held])
    return table, choose_number(table, config.standard_errors)


def _fit(scorer: LinearScorer, pairs: UserPairs, rows: Tensor, rank: int, config: LowRankConfig) -> Fitted:
    pooled, names = _pooled(scorer, rows, config.ridge), tuple(f"base{index + 1}" for index in range(rank))
    if rank == 1:
        none = torch.zeros(0, dtype=torch.float64)
        return Fitted(Population(names, none, none.expand(0, 0)), pooled[:, None], ())
    seen, owner = pairs.user_of[rows].unique(return_inverse=True)
    guess = first_guess(
        *(scorer.x[rows], pairs.labels[rows], owner, len(seen), rank, pooled),
        *(config.restarts, config.seed),
    )
    start = Population(names, guess.coordinates.mean(dim=0), torch.eye(rank - 1, dtype=torch.float64))
    learning = {"rounds": config.rounds, "draws": config.draws, "seed": config.seed}
    return fit_population(scorer.x, pairs, rows, start, guess.bases, anchor=pooled, ridge=config.ridge, **learning)


def _pooled(scorer: LinearScorer, rows: Tensor, ridge: float | None) -> Tensor:
    """`[d]`: one taste for all, pulled to 0 as strongly as the pairs ask for."""
    everybody, nothing = torch.ones(1, 1, 1, dtype=torch.float64), torch.zeros(scorer.x.shape[1], dtype=torch.float64)
    scorer.ridge, owner = ridge or 1.0, torch.zeros(len(rows), dtype=torch.long)
    for _ in range(1 if ridge else RIDGE_STEPS):
        scorer.fit(rows, torch.ones(len(rows), 1, dtype=torch.float64))
        if not ridge:
            scorer.ridge = learned_ridge(scorer.x[rows], owner, everybody, scorer.beta.T, nothing, scorer.ridge)
    return scorer.beta[0]


def _predicted(
    scorer: LinearScorer, pairs: UserPairs, train: Tensor, held: Tensor, found: Fitted, config: LowRankConfig
) -> Tensor:
    """`[held]`: log predictive probability of held-out answers, nats, given each user's other pairs."""
    scores = scorer.x @ found.bases
    if not found.population.size:
        return pair_log_likelihood(scores[held], pairs.labels[held])[:, 0]
    users = len(pairs.users)
    generator = torch.Generator().manual_seed(config.seed + 1)
    base = torch.randn(users, config.draws, found.population.size, generator=generator, dtype=torch.float64)
    draws = draw_all(found.population, scores[train], pairs.labels[train], pairs.user_of[train], base)
    tastes, share = found.population.tastes(draws.theta), draws.share.log()
    owner, labels = pairs.user_of[held], pairs.labels[held]
    margins = torch.einsum("nsb,nb->ns", tastes[owner], scores[held])
    better = (share[owner] + torch.nn.functional.logsigmoid(margins)).logsumexp(dim=1)
    worse = (share[owner] + torch.nn.functional.logsigmoid(-margins)).logsumexp(dim=1)
    return labels * better + (1 - labels) * worse


def _ordered(found: Fitted) -> Fitted:
    """The same with the base of the largest mean weight first."""
    population, rank = found.population, found.bases.shape[1]
    if rank == 1:
        return found
    theta = (
        population.mean
        + torch.randn(2000, rank - 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        @ torch.linalg.cholesky(population.covariance).T
    )
    order = population.weights(theta).mean(dim=0).argsort(descending=True, stable=True)
    basis = contrasts(rank)
    turn = basis.T @ basis[order]  # the coordinates of the same weights in another order
    covariance = turn @ population.covariance @ turn.T
    turned = Population(
        population.names, turn @ population.mean, (covariance + covariance.T) / 2, 0.0, population.users
    )
    return Fitted(turned, found.bases[:, order], found.evidence)
