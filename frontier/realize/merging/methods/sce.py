"""Merge models by how much each changed a tensor: the entries that differ most, of the sign that weighs more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, blocks, setting, work_dtype
from frontier.realize.merging.methods.deltas import Rule, combine
from frontier.realize.merging.methods.trimming import delta, keep_largest

# mergekit's: with a smaller sum all models count alike, and a divisor is never smaller.
SMALL = 1e-6


@dataclass(frozen=True)
class SceParameters(Parameters):
    """Settings of `sce`.

    Args:
        select_topk (`float`, *optional*, defaults to 1): the share of the entries with a variance between the models that is kept, 0 to 1.
        int8_mask (`bool`, *optional*): accepted from files of mergekit; masks have one byte an entry in any case.
    """

    select_topk: float = setting(1.0, least=0, most=1)
    int8_mask: bool = setting(False, kind=bool, unused=True)


class Sce(MergeMethod):
    r"""SCE of [FuseChat](https://huggingface.co/papers/2408.07990): select, calculate, erase; as mergekit's `sce`. There are no weights to choose.

    1. Select: of the entries of $d_i = \theta_i - \theta_0$ whose variance over the models is not 0, the share `select_topk` with the largest variance (of
       equal ones the first); the rest is 0 in all models. A share of 1 selects everything.
    2. Calculate: $w_i = \overline{d_i^2} / \sum_k \overline{d_k^2}$, the mean over the tensor's entries; equal where that sum is below 1e-6.
    3. Erase: the sign s of $\sum_i d_i$ is elected entry by entry (0 elects plus), and over the models whose $d_i$ has it

    $$ \theta = \theta_0 + \frac{\sum_i w_i d_i}{\max(\sum_i w_i, 10^{-6})} $$
    """

    name = "sce"
    needs_base = True
    Parameters = SceParameters

    def _merge(
        self, tensors: Sequence[Tensor], base: Tensor | None, parameters: Any, generator: torch.Generator | None
    ) -> Tensor:
        assert base is not None  # checked by the caller
        flat, origin = [t.reshape(-1) for t in tensors], base.reshape(-1)
        mask = None if parameters.select_topk >= 1 else _select(flat, origin, parameters.select_topk)
        energy = [_energy(t, origin, mask) for t in flat]
        whole = sum(energy) / max(1, origin.numel())
        weights = [1 / len(flat)] * len(flat) if whole < SMALL else [e / sum(energy) for e in energy]
        rule = Rule(tuple(weights), (1.0,) * len(flat), tuple(weights), 1.0, least_share=SMALL)
        return combine(flat, origin, [mask] * len(flat), rule).view(base.shape)


def _select(tensors: Sequence[Tensor], base: Tensor, share: float) -> Tensor:
    dtype = work_dtype(tensors, base)
    variance = torch.empty(base.numel(), dtype=dtype, device=base.device)
    for block in blocks(base.numel(), base.device):
        deltas = [delta(t, base, block, dtype) for t in tensors]
        mean = deltas[0].clone()
        for d in deltas[1:]:
            mean.add_(d)
        mean.div_(len(deltas))
        squares = variance[block].zero_()
        for d in deltas:
            squares.add_(d.sub_(mean).square_())
    count = int(int(torch.count_nonzero(variance)) * share)
    return keep_largest(variance, torch.zeros((), dtype=dtype, device=base.device).expand(base.numel()), count)


def _energy(tensor: Tensor, base: Tensor, mask: Tensor | None) -> float:
    total, dtype = 0.0, work_dtype([tensor], base)
    for block in blocks(base.numel(), base.device):
        piece = delta(tensor, base, block, dtype)
        if mask is not None:
            piece.mul_(mask[block])
        total += float(piece.dot(piece))
    return total
