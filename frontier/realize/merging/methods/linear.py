"""Average models: a soup."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class LinearParameters(Parameters):
    """Settings of `linear`.

    Args:
        weight (`tuple[float, ...]`): `[N]`, w_i; any sign.
        normalize (`bool`, *optional*, defaults to `True`): divide by the sum of the weights.
    """

    weight: tuple[float, ...] = setting(per_model=True)
    normalize: bool = setting(True, kind=bool)


class Linear(MergeMethod):
    r"""Weighted average of the models ([Model soups](https://huggingface.co/papers/2203.05482)), as mergekit's `linear`.

    $$ \theta = \frac{\sum_i w_i \theta_i}{\sum_i w_i} $$

    without the division where `normalize` is off. A model of weight 0 adds nothing; a merge still reads it and refuses it where it is not finite.

    Raises:
        InputError: the weights sum to 0 and are to be normalised.
    """

    name = "linear"
    elementwise = True
    Parameters = LinearParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: LinearParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        weights = parameters.weight
        if parameters.normalize:
            total = sum(weights)
            if abs(total) < 1e-8:
                raise InputError(f"{self.name} can't normalise weights that sum to 0: {list(weights)}")
            weights = tuple(w / total for w in weights)
        return weighted_sum(tensors, weights)
