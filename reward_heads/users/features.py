"""Find user groups from numbers: frozen embeddings, or the scores of several known objectives, of which each group wants another mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from reward_heads.users.config import UserGroupsConfig
from reward_heads.users.em import Mixture
from reward_heads.users.grouping import Grouping, summarise
from reward_heads.users.linear import LinearScorer, fit_linear
from reward_heads.users.observations import UserPairs
from reward_heads.users.search import search


@dataclass(frozen=True)
class FeatureGroups(Grouping):
    """Groups whose rewards are linear in features: group u scores a completion with features f by `weights[u] @ f`.

    Args:
        weights (`Tensor`): `[U, d]` float64, nats per unit of each feature. Where the features are the scores of objectives, what a group wants of each.
    """

    weights: Tensor

    def posterior(self, features_a: Tensor, features_b: Tensor, labels: Tensor) -> dict[str, float]:
        """The probability of each group for someone new, given any number of pairs (0: the shares).

        Args:
            features_a (`Tensor`): `[n, d]`.
            features_b (`Tensor`): `[n, d]`.
            labels (`Tensor`): `[n]`, the probability that a is better.
        """
        a, b = (features.detach().cpu().double() for features in (features_a, features_b))
        return self.posterior_of((a - b) @ self.weights.T, labels.detach().cpu())


def fit_feature_groups(
    features_a: Tensor,
    features_b: Tensor,
    labels: Tensor,
    users: Sequence[Any],
    config: UserGroupsConfig | None = None,
) -> FeatureGroups:
    """Find groups by EM with linear heads on frozen features, which takes seconds; the method is in `reward_heads.users.em` and `.linear`.

    Args:
        features_a (`Tensor`): `[N, d]`, of the first completion of each pair. Only differences matter.
        features_b (`Tensor`): `[N, d]`, of the second one.
        labels (`Tensor`): `[N]`, the probability that a is better; NaN = missing.
        users (`Sequence`): N users; `None` = unknown. Pairs without a user or a label are left out.
        config (`UserGroupsConfig`, *optional*): settings.

    Raises:
        InputError: shapes differ, a feature is not finite, there is a single user, or more groups than users.
    """
    config = config or UserGroupsConfig()
    pairs, x = UserPairs.of_features(features_a, features_b, labels, users)

    def fit(groups: int, rows: Tensor) -> tuple[LinearScorer, Mixture]:
        return fit_linear(
            *(x, pairs, rows, groups),
            assignment=config.assignment,
            restarts=config.restarts,
            ridge=config.ridge,
            seed=config.seed,
        )

    found = search(fit, pairs, config)
    judged = found.held if len(found.held) else found.train
    grouping = summarise(found, pairs, found.scorer.differences(judged)[:, found.order], config.assignment)
    return FeatureGroups(**vars(grouping), weights=found.scorer.weights[found.order])
