"""Drop most of what each model learned at random, make up for it, and add."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import setting
from frontier.realize.merging.methods.deltas import NORMS, DeltaMethod, Rule, SparseParameters
from frontier.realize.merging.methods.dropping import Draws, keep_some


@dataclass(frozen=True)
class DareParameters(SparseParameters):
    """Settings of `dare_linear` and `dare_ties`.

    Args:
        density (`tuple[float, ...]`): `[N]`, p, the probability that an entry is kept.
        rescale (`bool`, *optional*, defaults to `True`): make up for what was dropped.
        rescale_norm (`str`, *optional*, defaults to `"l1"`): `"probability"` multiplies by 1/p, the paper's rule, whose expectation is the delta itself;
            `"l1"` (mergekit's), `"l2"` and `"linf"` give the delta its former norm.
    """

    rescale: bool = setting(True, kind=bool)
    norms: ClassVar[tuple[str, ...]] = (*NORMS, "probability")


class DareLinear(DeltaMethod):
    r"""DARE ([Yu et al., 2023](https://huggingface.co/papers/2311.03099)) and a sum, as mergekit's `dare_linear`.

    $$ \theta = \theta_0 + \lambda \sum_i w_i \, c_i \, m_i \odot (\theta_i - \theta_0), \qquad m_{ij} \sim \text{Bernoulli}(p_i) $$

    with c_i = 1/p_i in the paper (`rescale_norm: probability`), the ratio of the L1 norms before and after in mergekit (the default), or 1 (`rescale: false`).
    Divided by Σ w_i where `normalize` is on (off by default). The masks depend on the generator alone, and are independent between models.
    """

    name = "dare_linear"
    random = True
    Parameters = DareParameters

    def _masks(
        self, tensors: Sequence[Tensor], base: Tensor, parameters: Any, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        assert generator is not None  # checked by the caller
        draws = Draws(generator, base.device)
        return [None if p >= 1 else keep_some(base.numel(), p, draws) for p in parameters.density]

    def _rule(self, parameters: Any, scales: Sequence[float]) -> Rule:
        if parameters.rescale and parameters.rescale_norm == "probability":
            scales = [1 / p if p else 1.0 for p in parameters.density]
        return super()._rule(parameters, scales)
