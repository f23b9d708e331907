"""Take layers as they are: stack slices of models into one that was never trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class PassthroughParameters(Parameters):
    """Settings of `passthrough`.

    Args:
        scale (`tuple[float, ...]`, *optional*, defaults to 1): `[1]`, a factor; with a filter, of some tensors only.
    """

    scale: tuple[float, ...] = setting(1.0, per_model=True)


class Passthrough(MergeMethod):
    r"""One model's tensor, times a scale if there is one; as mergekit's `passthrough`.

    $$ \theta = c \, \theta_1 $$

    With `slices` of one source each it stacks layers of different models, or one model's layers again ([SOLAR](https://huggingface.co/papers/2312.15166)'s
    depth up-scaling): layers are numbered anew and config.json says how many there are. Exactly one model in a slice.
    """

    name = "passthrough"
    elementwise = True
    most_models = 1
    Parameters = PassthroughParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: PassthroughParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        return weighted_sum(tensors, parameters.scale)
