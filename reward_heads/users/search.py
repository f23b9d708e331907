"""Try several numbers of groups, whatever the rewards are made of, and keep the one that held-out pairs ask for."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.users.choose import Likelihood, choose_number, likelihood_table
from reward_heads.users.config import UserGroupsConfig
from reward_heads.users.em import Mixture, PairScorer, predictive_log_likelihood
from reward_heads.users.observations import UserPairs

logger = logging.getLogger(__name__)
S = TypeVar("S", bound=PairScorer)


@dataclass(frozen=True)
class Search(Generic[S]):
    """What was found.

    Args:
        scorer (`PairScorer`): the heads of the number of groups that was chosen.
        mixture (`Mixture`): its shares and responsibilities.
        chosen (`int`): that number; the groups that were dropped count.
        table (`tuple[Likelihood, ...]`): held-out likelihood by number of groups; empty if nothing was held out.
        train (`Tensor`): positions of the pairs that were learned from.
        held (`Tensor`): positions of those that were held out.
    """

    scorer: S
    mixture: Mixture
    chosen: int
    table: tuple[Likelihood, ...]
    train: Tensor
    held: Tensor

    @property
    def order(self) -> list[int]:
        """The groups that were not dropped, largest first."""
        found = self.mixture.shares.sort(descending=True, stable=True).indices.tolist()
        return [group for group in found if self.mixture.shares[group] > 0]


def search(fit: Callable[[int, Tensor], tuple[S, Mixture]], pairs: UserPairs, config: UserGroupsConfig) -> Search[S]:
    """Fit every candidate number of groups and choose.

    Args:
        fit (`Callable`): `fit(groups, rows)` learns from the pairs at `rows`.
        pairs (`UserPairs`): the data.
        config (`UserGroupsConfig`): candidates, split and rule.

    Raises:
        InputError: there are more groups than users, or no pair can be held out.
    """
    most, with_pairs = max(config.candidates), len(pairs.user_of.unique())
    if most > with_pairs:
        field = "max_groups" if config.groups is None else "groups"
        raise InputError(
            f"{field} is {most}, but only {with_pairs} users have labelled pairs: there can't be more groups than users"
        )
    train, held = pairs.split(config.held_out, config.seed)
    found: dict[int, tuple[S, Mixture]] = {}
    predicted: dict[int, Tensor] = {}
    for count in config.candidates:
        found[count] = scorer, mixture = fit(count, train)
        if len(held):
            known = mixture.responsibilities[pairs.user_of[held]]
            predicted[count] = predictive_log_likelihood(scorer.differences(held), pairs.labels[held], known)
            logger.info("%d groups: held-out log-likelihood %.4f per pair", count, predicted[count].mean())
    left = {count: int((mixture.shares > 0).sum()) for count, (_, mixture) in found.items()}
    table = likelihood_table(predicted, left, pairs.user_of[held]) if predicted else ()
    chosen = choose_number(table, config.standard_errors) if table else config.candidates[0]
    if left[chosen] < chosen:
        logger.warning("of %d groups %d lost their users and were dropped", chosen, chosen - left[chosen])
    return Search(*found[chosen], chosen, table, train, held)


def members(responsibilities: Tensor) -> Tensor:
    """`[users]`: the likeliest group of each user, the first (largest) of equals."""
    return torch.argmax(responsibilities, dim=1)
