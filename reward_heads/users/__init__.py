"""Find groups of users who want different things, from who preferred what: one reward per group, how many groups there are, who belongs to which.

    from reward_heads.users import UserGroupsConfig, fit_user_groups
    groups = fit_user_groups("path/to/causal-lm", pairs, UserGroupsConfig(max_groups=4))  # pairs with a `user`
    print(groups.table())
    groups.save("runs/groups")  # an ordinary reward folder with one objective per group, plus groups.json

The same search works on features of any kind, without a language model:

    >>> import torch
    >>> from reward_heads.users import UserGroupsConfig, fit_feature_groups
    >>> a, b = torch.randn(2, 600, 3, generator=torch.Generator().manual_seed(0))  # three known scores of each completion
    >>> users = [f"user{i % 12}" for i in range(600)]
    >>> wants_first = torch.tensor([i % 12 < 8 for i in range(600)])  # eight users go by the first score, four by the second
    >>> labels = torch.where(wants_first, (a > b)[:, 0], (a > b)[:, 1]).float()
    >>> groups = fit_feature_groups(a, b, labels, users, UserGroupsConfig(max_groups=3))
    >>> groups.names, groups.assign("user0"), groups.assign("user11")
    (('group1', 'group2'), 'group1', 'group2')

What is known of one user, how well, and what to ask next: every user model gives a [`UserPosterior`], from no pair on. Here users weigh two known objectives:

    >>> from reward_heads.users import fit_objective_users, next_pair
    >>> wants = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]).repeat(8, 1)[torch.arange(600) % 24]
    >>> labels = (((a - b)[:, :2] * wants).sum(1) > 0).float()  # what 24 users say, 25 pairs each
    >>> model = fit_objective_users(a[:, :2], b[:, :2], labels, [f"user{i % 24}" for i in range(600)], ["helpful", "brief"])
    >>> known = model.posterior_of(torch.tensor([[1.0, -0.5], [0.5, -1.0]]), torch.tensor([1.0, 1.0]))  # someone new, who liked the more helpful one twice
    >>> known.n, known.weights["helpful"] > 0.6, bool(known.interval(0.9)[0, 0] > model.population().interval(0.9)[0, 0])
    (2, True, True)
    >>> next_pair(known, torch.tensor([[1.0, 0.5], [0.7, -1.0]])).pair  # what both objectives prefer is no question
    1
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.users.config import UserGroupsConfig
    from reward_heads.users.em import Mixture, PairScorer, run_em
    from reward_heads.users.features import FeatureGroups, fit_feature_groups
    from reward_heads.users.fit import fit_user_groups
    from reward_heads.users.groups import UserGroups
    from reward_heads.users.latent_config import LatentConfig
    from reward_heads.users.latent_fit import fit_latent_texts, fit_latent_users
    from reward_heads.users.latent_model import LatentUsers
    from reward_heads.users.low_rank import LowRankUsers
    from reward_heads.users.low_rank_config import LowRankConfig
    from reward_heads.users.low_rank_fit import fit_low_rank_texts, fit_low_rank_users
    from reward_heads.users.mixture_posterior import GroupUsers
    from reward_heads.users.objective_users import ObjectiveUsers, fit_objective_texts, fit_objective_users
    from reward_heads.users.posterior import UserModel, UserPosterior
    from reward_heads.users.questions import (
        Question,
        Questions,
        expected_best,
        expected_information,
        next_pair,
        next_pairs,
    )
    from reward_heads.users.simplex import Population

_HOME = {
    "FeatureGroups": "features",
    "GroupUsers": "mixture_posterior",
    "LatentConfig": "latent",
    "LatentUsers": "latent",
    "LowRankConfig": "low_rank_config",
    "LowRankUsers": "low_rank",
    "Mixture": "em",
    "ObjectiveUsers": "objective_users",
    "PairScorer": "em",
    "Population": "simplex",
    "Question": "questions",
    "Questions": "questions",
    "UserGroups": "groups",
    "UserGroupsConfig": "config",
    "UserModel": "posterior",
    "UserPosterior": "posterior",
    "expected_best": "questions",
    "expected_information": "questions",
    "fit_feature_groups": "features",
    "fit_latent_texts": "latent",
    "fit_latent_users": "latent",
    "fit_low_rank_texts": "low_rank_fit",
    "fit_low_rank_users": "low_rank_fit",
    "fit_objective_texts": "objective_users",
    "fit_objective_users": "objective_users",
    "fit_user_groups": "fit",
    "next_pair": "questions",
    "next_pairs": "questions",
    "run_em": "em",
}

__all__ = [
    "FeatureGroups",
    "GroupUsers",
    "LatentConfig",
    "LatentUsers",
    "LowRankConfig",
    "LowRankUsers",
    "Mixture",
    "ObjectiveUsers",
    "PairScorer",
    "Population",
    "Question",
    "Questions",
    "UserGroups",
    "UserGroupsConfig",
    "UserModel",
    "UserPosterior",
    "expected_best",
    "expected_information",
    "fit_feature_groups",
    "fit_latent_texts",
    "fit_latent_users",
    "fit_low_rank_texts",
    "fit_low_rank_users",
    "fit_objective_texts",
    "fit_objective_users",
    "fit_user_groups",
    "next_pair",
    "next_pairs",
    "run_em",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.users' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.users.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
