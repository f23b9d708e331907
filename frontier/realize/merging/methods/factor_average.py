"""Average LoRA factors, as published soups do: for comparison with the exact mixture, which it is not."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class FactorAverageParameters(Parameters):
    """Settings of `factor_average`.

    Args:
        weight (`tuple[float, ...]`): `[N]`, w_i.
    """

    weight: tuple[float, ...] = setting(per_model=True)


class FactorAverage(MergeMethod):
    r"""Weighted sum of LoRA factors, each by itself, as the code of [Rewarded Soups](https://huggingface.co/papers/2306.04488) does.

    $$ A = \sum_k w_k A_k, \quad B = \sum_k w_k B_k, \qquad\text{so that}\quad BA = \sum_k \sum_j w_k w_j B_k A_j $$

    has every cross term and squared weights: **not** Σ w_k B_k A_k. With w = (½, ½) it is off by 0.7 of the signal for independent adapters, by 0.2 for
    those that share their initial A. Only for the factors of adapters of one rank and scaling; an exact mixture is `rewarded_soups` on full weights, or the
    adapters concatenated.
    """

    name = "factor_average"
    elementwise = True
    on_factors = True
    Parameters = FactorAverageParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: FactorAverageParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        return weighted_sum(tensors, parameters.weight)
