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
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.users.config import UserGroupsConfig
    from reward_heads.users.em import Mixture, PairScorer, run_em
    from reward_heads.users.features import FeatureGroups, fit_feature_groups
    from reward_heads.users.fit import fit_user_groups
    from reward_heads.users.groups import UserGroups

_HOME = {
    "FeatureGroups": "features",
    "Mixture": "em",
    "PairScorer": "em",
    "UserGroups": "groups",
    "UserGroupsConfig": "config",
    "fit_feature_groups": "features",
    "fit_user_groups": "fit",
    "run_em": "em",
}

__all__ = [
    "FeatureGroups",
    "Mixture",
    "PairScorer",
    "UserGroups",
    "UserGroupsConfig",
    "fit_feature_groups",
    "fit_user_groups",
    "run_em",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.users' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.users.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
