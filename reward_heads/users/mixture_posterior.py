r"""Groups of users as a user model: which group someone belongs to after n pairs, how sure that is, and what to ask.

The components are the groups' rewards and what is reported are the probabilities of the groups. Someone belongs to one group, whose reward he follows with the group's scale, so that
$P(a \succ b) = \sum_u \gamma_u\, \sigma(s_u \Delta_u)$. Draws are of the whole chain: the groups' shares given how many users were seen, $\pi \sim \mathrm{Dirichlet}(\sum_h \gamma_h)$; each group's scale
within its standard error, at most 1; $\gamma \propto \pi\, e^{L}$ from the pairs; and a group from $\gamma$. So intervals of the probabilities cover what is not known of shares and scales; that the rewards
themselves were learned from finitely many pairs is covered by their scale alone, and that there might be other groups not at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frontier.errors import InputError
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.users.em import pair_log_likelihood
from reward_heads.users.features import FeatureGroups
from reward_heads.users.groups import UserGroups
from reward_heads.users.posterior import UserPosterior, check_answers
from reward_heads.users.simplex_posterior import normal_points
from reward_heads.users.simplex_users import pairs_of
from reward_heads.vector_reward import score_checked


@dataclass(frozen=True)
class GroupUsers:
    """[`UserGroups`] or [`FeatureGroups`] as a [`UserModel`], whose D components are the groups.

    Args:
        groups (`UserGroups` or `FeatureGroups`): as they were found.
        embedder (`TextEmbedder`, *optional*): for groups that were found from its vectors, to read texts.
        draws (`int`, *optional*, defaults to 2000): S of every posterior.
        seed (`int`, *optional*, defaults to 0): of the draws.

    Raises:
        InputError: the embedder has another width than the groups' weights, or draws is less than 16.
    """

    groups: UserGroups | FeatureGroups
    embedder: TextEmbedder | None = None
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 16:
            raise InputError(f"draws must be at least 16, found {self.draws}")
        if self.embedder is not None and isinstance(self.groups, FeatureGroups):
            width = self.groups.weights.shape[1]
            if self.embedder.width != width:
                raise InputError(f"the groups read {width} features, but the embedder gives {self.embedder.width}")

    @property
    def names(self) -> tuple[str, ...]:
        """The groups."""
        return self.groups.names

    def population(self) -> UserPosterior:
        """The groups' shares, with what is not known of them."""
        return self.posterior_of(torch.empty(0, len(self.names)), torch.empty(0))

    def posterior(self, pairs: Iterable[Mapping[str, Any]]) -> UserPosterior:
        """See [`UserModel.posterior`]."""
        return self.posterior_of(*self._read(pairs))

    def posterior_of(self, differences: Tensor, labels: Tensor) -> UserPosterior:
        """The probabilities of the groups; the mean is what `groups.posterior` gives, with shares and scales as found.

        Args:
            differences (`Tensor`): `[n, D]`, each group's score of a minus score of b.
            labels (`Tensor`): `[n]`, the probability that a is better; NaN = missing.

        Raises:
            InputError: shapes don't fit, a label is outside [0, 1], or a number is not finite.
        """
        delta, p = check_answers(differences, labels, self.names)
        scales = self._scales()
        likelihood = pair_log_likelihood((delta[None] * scales[:, None]).flatten(0, 1), p.repeat(self.draws))
        total = likelihood.reshape(self.draws, len(p), len(self.names)).sum(dim=1)
        gamma = torch.softmax(self._shares().log() + total, dim=1)
        # One comb over all draws' probabilities: the groups come as often as they should, not by chance.
        teeth = (torch.arange(self.draws, dtype=torch.float64) + 0.5) / self.draws
        shuffled = teeth[torch.randperm(self.draws, generator=torch.Generator().manual_seed(self.seed))]
        group = (gamma.cumsum(dim=1) < shuffled[:, None]).sum(dim=1).clamp(max=len(self.names) - 1)
        tastes = F.one_hot(group, len(self.names)).double() * scales
        mean = torch.tensor(list(self.groups.posterior_of(delta, p).values()), dtype=torch.float64)
        return UserPosterior(self.names, gamma, len(p), tastes=tastes, exact_mean=mean)

    def differences(self, pairs: Iterable[Mapping[str, Any]]) -> Tensor:
        """See [`UserModel.differences`]."""
        return self._read(pairs)[0]

    def _shares(self) -> Tensor:
        """`[S, D]`: draws of the groups' shares."""
        users = max(1, len(self.groups.users))
        counts = (self.groups.shares * users).clamp(min=1e-3)
        drawn = np.random.default_rng(self.seed).dirichlet(counts.numpy(), self.draws)
        return torch.from_numpy(drawn).clamp(min=1e-300)

    def _scales(self) -> Tensor:
        """`[S, D]`: draws of what each group's differences are to be multiplied by."""
        known, error = self.groups.scale.scale.double(), self.groups.scale.standard_error.double()
        centre = known.nan_to_num(nan=1.0).clamp(max=1.0)
        spread = torch.where(error.isfinite() & known.isfinite(), error, torch.zeros_like(error))
        return (centre + spread * normal_points(self.draws, len(self.names), self.seed)).clamp(0.0, 1.0)

    def _read(self, rows: Iterable[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
        objective = self.groups.objective if isinstance(self.groups, UserGroups) else None
        examples, labels = pairs_of(rows, objective)
        if not examples:
            return torch.empty(0, len(self.names), dtype=torch.float64), labels
        prompts = [example.prompt for example in examples] * 2
        others = [example.other for example in examples if example.other is not None]
        completions = [example.completion for example in examples] + others
        if isinstance(self.groups, UserGroups):
            scores = score_checked(self.groups.reward, prompts, completions).double()
        elif self.embedder is None:
            raise InputError("these groups were found from features: give an embedder to read texts")
        else:
            scores = self.embedder.embed(prompts, completions).double() @ self.groups.weights.T
        a, b = scores.chunk(2)
        return a - b, labels
