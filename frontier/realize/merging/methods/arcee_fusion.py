"""Take from another model only the changes that matter most to what a row computes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, blocks, work_dtype
from frontier.realize.merging.methods.trimming import order_statistic

# mergekit's: added to probabilities before their logarithm.
FLOOR = 1e-8


@dataclass(frozen=True)
class ArceeFusionParameters(Parameters):
    """`arcee_fusion` has no settings."""


class ArceeFusion(MergeMethod):
    r"""Arcee Fusion, as [mergekit's `arcee_fusion`](https://github.com/arcee-ai/mergekit): one model's most important entries in the base.

    The importance of an entry is $|\theta_1 - \theta_0|$ times the Kullback-Leibler divergence of its row's softmax from the base's row (along the last
    dimension; 1e-8 is added to each probability). Entries that reach median + 1.5 · (upper − lower quartile) of the tensor are taken, the rest stays.

    mergekit takes quartiles from a random million entries of a larger tensor; here they are always those of the whole tensor. Exactly one model besides the
    base.
    """

    name = "arcee_fusion"
    needs_base = True
    most_models = 1
    Parameters = ArceeFusionParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: ArceeFusionParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        assert base is not None  # checked by the caller
        dtype = work_dtype(tensors, base)
        columns = base.shape[-1] if base.dim() else 1
        other, origin = tensors[0].reshape(-1, max(1, columns)), base.reshape(-1, max(1, columns))
        importance = torch.empty(origin.shape, dtype=dtype, device=base.device)
        step = max(1, next(blocks(1 << 62, base.device)).stop // max(1, columns))
        parts = [slice(i, i + step) for i in range(0, origin.shape[0], step)]
        for part in parts:
            new, old = other[part].to(dtype), origin[part].to(dtype)
            p, q = new.softmax(-1).add_(FLOOR), old.softmax(-1).add_(FLOOR)
            divergence = (p * (p / q).log()).sum(-1, keepdim=True)
            torch.mul((new - old).abs_(), divergence, out=importance[part])
        out = torch.empty(origin.shape, dtype=dtype, device=base.device)
        if out.numel() == 0:
            return out.view(base.shape)
        last = importance.numel() - 1
        lower, median, upper = order_statistic(importance.view(-1).clone(), [int(q * last) for q in (0.25, 0.5, 0.75)])
        threshold = median + 1.5 * (upper - lower)
        for part in parts:
            torch.where(importance[part] >= threshold, other[part].to(dtype), origin[part].to(dtype), out=out[part])
        return out.view(base.shape)
