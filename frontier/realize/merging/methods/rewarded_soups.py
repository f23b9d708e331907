"""Serve a preference by averaging one specialist per reward."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class RewardedSoupsParameters(Parameters):
    """Settings of `rewarded_soups`.

    Args:
        weight (`tuple[float, ...]`): `[N]`, the preference λ, not negative, with sum 1.

    Raises:
        InputError: the weights are no preference.
    """

    weight: tuple[float, ...] = setting(per_model=True, least=0, most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(sum(self.weight) - 1) > 1e-6:
            raise InputError(
                f"rewarded_soups takes a preference that sums to 1, found {list(self.weight)}; 'linear' takes any weights"
            )


class RewardedSoups(MergeMethod):
    r"""Soup of models that were each trained for one reward ([Ramé et al., 2023](https://huggingface.co/papers/2306.04488)), interpolated as a preference asks.

    $$ \theta(\lambda) = \sum_k \lambda_k \theta_k, \qquad \lambda \ge 0, \; \sum_k \lambda_k = 1 $$

    on full weights, so that for LoRA experts it is exactly W_0 + Σ λ_k ΔW_k. The published code averages LoRA factors instead, another function:
    `factor_average` here.
    """

    name = "rewarded_soups"
    elementwise = True
    Parameters = RewardedSoupsParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: RewardedSoupsParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        return weighted_sum(tensors, parameters.weight)
