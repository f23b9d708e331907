"""Add what each model learned to the base."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frontier.realize.merging.methods.deltas import DeltaMethod, DeltaParameters


class TaskArithmetic(DeltaMethod):
    r"""Task arithmetic ([Ilharco et al., 2022](https://huggingface.co/papers/2212.04089)), as mergekit's `task_arithmetic`.

    $$ \theta = \theta_0 + \lambda \sum_i w_i (\theta_i - \theta_0) $$

    divided by Σ w_i where `normalize` is on (off by default; a sum below 1e-8 in size divides nothing). A negative weight unlearns.
    """

    name = "task_arithmetic"
    elementwise = True
    Parameters = DeltaParameters

    def _masks(
        self, tensors: Sequence[Tensor], base: Tensor, parameters: DeltaParameters, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        return [None] * len(tensors)
