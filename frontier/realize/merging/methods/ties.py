"""Merge without interference, by mergekit's rule: trim, elect signs on weighted deltas, divide by the weights that were kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import Parameters, setting
from frontier.realize.merging.methods.deltas import DeltaMethod, SparseParameters
from frontier.realize.merging.methods.trimming import keep_largest


@dataclass(frozen=True)
class TiesParameters(SparseParameters):
    """Settings of `ties`: those of all sparse merges, with `normalize` on by default."""

    normalize: bool = setting(True, kind=bool)


class Ties(DeltaMethod):
    r"""TIES ([Yadav et al., 2023](https://huggingface.co/papers/2306.01708)) as mergekit defines it.

    1. Trim: of each delta $\theta_i - \theta_0$ keep the ⌊density · n⌋ entries, one at least, that are largest in magnitude; the rest is 0: $d_i$. Of equal ones
       the first are kept, where mergekit's sort keeps any.
    2. Elect: the sign s of $\sum_i w_i d_i$, entry by entry; a sum of exactly 0 elects plus.
    3. Merge, over the models whose $w_i d_i$ has that sign:

    $$ \theta = \theta_0 + \lambda \frac{\sum_i w_i d_i}{\sum_i w_i} $$

    without the division where `normalize` is off; where no weight is left the divisor is 1. `rescale` (off by default) gives each trimmed delta its former
    norm.

    It differs from the paper, and from PEFT (`ties_peft`), in that weights take part in the election and in the divisor; with equal weights all three agree
    but for a factor. A density of 0 leaves the base.
    """

    name = "ties"
    elects = True
    Parameters: ClassVar[type[Parameters]] = TiesParameters

    def _masks(
        self, tensors: Sequence[Tensor], base: Tensor, parameters: Any, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        flat, origin = [t.reshape(-1) for t in tensors], base.reshape(-1)
        return [
            None if density >= 1 else keep_largest(t, origin, max(int(density > 0), int(density * t.numel())))
            for t, density in zip(flat, parameters.density, strict=True)
        ]
