"""Merge agents that were trained with reinforcement: what one of them learned alone stays whole, what several changed is averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, blocks, setting, work_dtype
from frontier.realize.merging.methods.trimming import delta


@dataclass(frozen=True)
class RamParameters(Parameters):
    """Settings of `ram`.

    Args:
        epsilon (`float`, *optional*, defaults to 1e-5): ε; a change that is not larger counts as none.
    """

    epsilon: float = setting(1e-5, least=0)


class Ram(MergeMethod):
    r"""Reinforced Agent Merging ([2601.13572](https://huggingface.co/papers/2601.13572)), as mergekit's `ram`.

    Reinforcement changes few entries of a model. With $d_i = \theta_i - \theta_0$ and n the number of models in which $|d_i| > \varepsilon$ at an entry,

    $$ \theta = \theta_0 + \frac{1}{\max(n, 1)} \sum_{i : |d_i| > \varepsilon} d_i $$

    so that an average does not shrink what only one model learned. There are no weights.
    """

    name = "ram"
    elementwise = True
    needs_base = True
    Parameters: ClassVar[type[Parameters]] = RamParameters

    def _merge(
        self, tensors: Sequence[Tensor], base: Tensor | None, parameters: Any, generator: torch.Generator | None
    ) -> Tensor:
        assert base is not None  # checked by the caller
        return merge_reinforced(tensors, base, parameters.epsilon, (1.0,) * len(tensors))


def merge_reinforced(tensors: Sequence[Tensor], base: Tensor, epsilon: float, gains: Sequence[float]) -> Tensor:
    """Average what several models changed, and add what one changed, times its gain, in one pass."""
    flat, origin = [t.reshape(-1) for t in tensors], base.reshape(-1)
    dtype = work_dtype(tensors, base)
    out = torch.empty(origin.numel(), dtype=dtype, device=base.device)
    for block in blocks(origin.numel(), base.device):
        deltas, changed = _changes(flat, origin, block, epsilon, dtype)
        count = _count(changed)
        alone = torch.eq(count, 1).to(dtype)
        result = out[block].zero_()
        for d, gain in zip(deltas, gains, strict=True):
            result.add_(d if gain == 1 else d.mul_(alone.mul(gain - 1).add_(1)))
        result.div_(count.clamp_min_(1)).add_(origin[block])
    return out.view(base.shape)


def shares(tensors: Sequence[Tensor], base: Tensor, epsilon: float) -> list[tuple[int, int]]:
    """Of each model, how many entries it changed along with others, and how many alone."""
    flat, origin = [t.reshape(-1) for t in tensors], base.reshape(-1)
    dtype = work_dtype(tensors, base)
    found = [(0, 0)] * len(flat)
    for block in blocks(origin.numel(), base.device):
        _, changed = _changes(flat, origin, block, epsilon, dtype)
        alone = torch.eq(_count(changed), 1).to(dtype)
        for i, c in enumerate(changed):
            own = int(c.dot(alone))  # a block is far shorter than 2^24, up to which float32 counts exactly
            found[i] = (found[i][0] + int(c.sum()) - own, found[i][1] + own)
    return found


def _changes(
    flat: Sequence[Tensor], origin: Tensor, block: slice, epsilon: float, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    deltas = [delta(t, origin, block, dtype) for t in flat]
    changed = [torch.gt(d.abs(), epsilon).to(dtype) for d in deltas]
    return [d.mul_(c) for d, c in zip(deltas, changed, strict=True)], changed


def _count(changed: Sequence[Tensor]) -> Tensor:
    count = changed[0].clone()
    for c in changed[1:]:
        count.add_(c)
    return count
