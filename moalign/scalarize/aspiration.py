"""Aspiration: reach the wished-for rewards, the one that is missed most first, and only then go beyond them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.scalarize.base import Scalarizer, check_vector, check_width, present_weights


@dataclass(frozen=True)
class Aspiration(Scalarizer):
    r"""Augmented achievement scalarizing function ([Wierzbicki, 1980](https://doi.org/10.1007/978-3-642-48782-8_32)), maximised.

    $$ s(r \mid w) = \min_k w_k (r_k - a_k) + \rho \sum_k w_k (r_k - a_k) $$

    where $a$ is the aspiration: the rewards that a user wishes for, attainable or not. With $\rho = 0$ it is positive exactly where every weighted wish is exceeded,
    and its maximum may be weakly dominated; a small $\rho > 0$ rules that out. `frontier.choose.pick(front, aspire=...)` chooses by the same
    rule among the measured points of a front, with one over each objective's range there for $w$.

    A missing objective is left out and its weight shared out among the present ones. An objective of weight 0 is no part of the wish: it is left out of the minimum too
    (else its constant 0 would cap the achievement of the others).

    Args:
        aspiration (`Tensor`): `[K]`, in the units of the rewards that it is called with (normalised ones in a trainer).
        augmentation (`float`, *optional*, defaults to 0.05): $\rho \geq 0$.

    Raises:
        InputError: `augmentation` is negative or not finite, or `aspiration` is not finite.
    """

    aspiration: Tensor
    augmentation: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.augmentation < float("inf"):
            raise InputError(f"augmentation must not be negative, found {self.augmentation}")
        check_vector("aspiration", self.aspiration)

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[..., K]` rewards and `[..., K]` weights to `[...]` scalars; NaN where no present objective has a weight."""
        check_width("this aspiration", len(self.aspiration), rewards)
        weights = present_weights(rewards, weights)
        achieved = weights * (rewards.nan_to_num() - self.aspiration.to(rewards))
        worst = achieved.masked_fill(weights == 0, torch.inf).amin(-1)
        value = worst + self.augmentation * achieved.sum(-1)
        return value.masked_fill(weights.isnan().any(-1), torch.nan)
