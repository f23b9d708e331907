"""Drop what each model learned at random, small changes more often than large ones, and add."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import setting
from frontier.realize.merging.methods.dare_linear import DareParameters
from frontier.realize.merging.methods.deltas import DeltaMethod, check_spread
from frontier.realize.merging.methods.dropping import Draws, keep_ranked


@dataclass(frozen=True)
class DellaLinearParameters(DareParameters):
    """Settings of `della_linear`.

    Args:
        density (`tuple[float, ...]`): `[N]`, d, the mean probability that an entry is kept.
        epsilon (`tuple[float, ...]`, *optional*, defaults to 0.15): `[N]`, ε: probabilities go from d − ε to d + ε, which must lie within (0, 1).
        rescale_norm (`str`, *optional*, defaults to `"l1"`): `"probability"` multiplies each kept entry by 1/p_j, the paper's rule; else as in `dare_linear`.
    """

    epsilon: tuple[float, ...] = setting(0.15, per_model=True, least=0, most=0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_spread("della", self.density, self.epsilon)


class DellaLinear(DeltaMethod):
    r"""DELLA ([Deep et al., 2024](https://huggingface.co/papers/2406.11617)) without its election, as mergekit's `della_linear`.

    $$ \theta = \theta_0 + \lambda \sum_i w_i \, m_i \odot (\theta_i - \theta_0), \qquad
       m_{ij} \sim \text{Bernoulli}\Big( d_i - \epsilon_i + 2 \epsilon_i \frac{\text{rank}_j}{c - 1} \Big) $$

    where rank_j counts from 0, the smallest magnitude of the row of c entries (along dimension 1; a vector is one row), to c − 1, the largest. Then each
    delta gets its former L1
    norm (`rescale`, on by default). A density of 1 keeps everything, 0 nothing.
    """

    name = "della_linear"
    random = True
    Parameters = DellaLinearParameters

    def _masks(
        self, tensors: Sequence[Tensor], base: Tensor, parameters: Any, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        assert generator is not None  # checked by the caller
        draws = Draws(generator, base.device)
        unbiased = parameters.rescale and parameters.rescale_norm == "probability"
        masks: list[Tensor | None] = []
        for tensor, density, epsilon in zip(tensors, parameters.density, parameters.epsilon, strict=True):
            if density >= 1:
                masks.append(None)
            elif density <= 0:
                masks.append(torch.zeros(base.numel(), dtype=torch.uint8, device=base.device))
            else:
                masks.append(keep_ranked(tensor, base, density, epsilon, draws, unbiased=unbiased))
        return masks
