"""Merge agents that were trained with reinforcement, and strengthen what one learned alone, the more of it the others overwrite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import setting
from frontier.realize.merging.methods.ram import Ram, RamParameters, merge_reinforced, shares


@dataclass(frozen=True)
class RamPlusParameters(RamParameters):
    """Settings of `ramplus_tl`.

    Args:
        r (`float`, *optional*, defaults to 0.1): by how much what a model changed alone grows with ρ.
        alpha (`float`, *optional*, defaults to 0.2): the largest ρ that counts.
    """

    r: float = setting(0.1)
    alpha: float = setting(0.2, least=0)


class RamPlusTensorLocal(Ram):
    r"""Reinforced Agent Merging Plus ([2601.13572](https://huggingface.co/papers/2601.13572)), tensor by tensor, as mergekit's `ramplus_tl`.

    As `ram`, but a change that model i made alone is multiplied by

    $$ 1 + r \cdot \min(\rho_i, \alpha), \qquad \rho_i = \frac{\text{entries changed along with others}}{\max(\text{entries changed alone}, \varepsilon)} $$

    counted within the tensor.
    """

    name = "ramplus_tl"
    elementwise = False
    Parameters = RamPlusParameters

    def _merge(
        self, tensors: Sequence[Tensor], base: Tensor | None, parameters: Any, generator: torch.Generator | None
    ) -> Tensor:
        assert base is not None  # checked by the caller
        gains = []
        for shared, alone in shares(tensors, base, parameters.epsilon):
            below = max(alone, parameters.epsilon)
            rho = min(shared / below, parameters.alpha) if below else (parameters.alpha if shared else 0.0)
            gains.append(1 + parameters.r * rho)
        return merge_reinforced(tensors, base, parameters.epsilon, gains)
