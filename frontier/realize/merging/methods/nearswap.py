"""Take from another model what hardly differs from the base, and little of what differs much."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, blocks, setting, work_dtype
from frontier.realize.merging.methods.trimming import delta


@dataclass(frozen=True)
class NearSwapParameters(Parameters):
    """Settings of `nearswap`.

    Args:
        t (`float`): how far an entry may move at most.
    """

    t: float = setting(least=0)


class NearSwap(MergeMethod):
    r"""[NearSwap](https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001), as mergekit's `nearswap`: a step of length t from the base to the other.

    $$ \theta = \theta_0 + \min\Big( \frac{t}{\max(|\theta_1 - \theta_0|, 10^{-6})}, 1 \Big) (\theta_1 - \theta_0) $$

    Entries that differ by no more than t become the other model's. Exactly one model besides the base.
    """

    name = "nearswap"
    elementwise = True
    needs_base = True
    most_models = 1
    Parameters = NearSwapParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: NearSwapParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        assert base is not None  # checked by the caller
        flat, origin = tensors[0].reshape(-1), base.reshape(-1)
        dtype = work_dtype(tensors, base)
        out = torch.empty(origin.numel(), dtype=dtype, device=base.device)
        for block in blocks(origin.numel(), base.device):
            change = delta(flat, origin, block, dtype)
            share = change.abs().clamp_min_(1e-6).reciprocal_().mul_(parameters.t).clamp_max_(1)
            torch.add(change.mul_(share), origin[block], out=out[block])
        return out.view(base.shape)
