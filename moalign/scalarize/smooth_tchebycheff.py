"""Smooth Tchebycheff: push the objective that lags furthest behind its target, without the kinks of the max."""

from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.scalarize.base import Scalarizer, check_vector, check_width, present_weights


@dataclass(frozen=True)
class SmoothTchebycheff(Scalarizer):
    r"""Smooth Tchebycheff scalarization ([Lin et al., 2024](https://arxiv.org/abs/2402.19078)), for maximised rewards.

    $$ s(r \mid w) = -\mu \log \sum_{k=1}^{K} \exp\!\big( w_k (z_k - r_k) / \mu \big) $$

    where $r$ is the reward vector, $w$ the weights, $z$ the utopia point and $\mu$ the smoothing. As $\mu \to 0$ it becomes
    $-\max_k w_k (z_k - r_k)$; unlike a linear sum it can reach concave parts of the front. It lies between that and
    $-\max_k w_k (z_k - r_k) - \mu \log K$.

    A missing objective is left out of the sum and its weight shared out among the present ones.

    Args:
        utopia (`Tensor`): `[K]`, a point that no policy dominates, in the units of the rewards that it is called with (normalised ones in a trainer).
        smoothing (`float`, *optional*, defaults to 0.1): $\mu > 0$. The paper anneals it; here it is constant.

    Raises:
        InputError: `smoothing` is not positive or `utopia` is not finite.
    """

    utopia: Tensor
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.smoothing < float("inf"):
            raise InputError(f"smoothing must be positive, found {self.smoothing}")
        check_vector("utopia", self.utopia)

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[..., K]` rewards and `[..., K]` weights to `[...]` scalars; NaN where no present objective has a weight."""
        check_width("this utopia point", len(self.utopia), rewards)
        weights = present_weights(rewards, weights)
        shortfall = weights * (self.utopia.to(rewards) - rewards.nan_to_num()) / self.smoothing
        # Left-out objectives must not count as "no shortfall": exp(0) = 1 would still add to the sum.
        shortfall = shortfall.masked_fill(rewards.isnan(), -torch.inf)
        value = -self.smoothing * torch.logsumexp(shortfall, dim=-1)
        return value.masked_fill(weights.isnan().any(-1), torch.nan)
