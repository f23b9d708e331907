"""Keep entries of a delta at random: all with one probability, or large ones more often."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from frontier.realize.merging.methods.base import GPU_BLOCK, blocks, work_dtype
from frontier.realize.merging.methods.trimming import delta


class Draws:
    """Random bits from a torch generator, whatever device that is on; on a CPU by SFC64, many times faster than torch's own.

    Args:
        generator (`torch.Generator`): moved on by one number, the seed of all that follow.
        device (`torch.device`): of the masks.
    """

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        seed = int(torch.randint(0, 2**63 - 1, (), generator=generator, device=generator.device))
        self.device = device
        self._raw = np.random.Generator(np.random.SFC64(seed))
        if device.type != "cpu":
            self._torch = torch.Generator(device).manual_seed(seed)

    def uniform(self, size: int) -> Tensor:
        """`[size]` float32 in [0, 1)."""
        if self.device.type != "cpu":
            return torch.rand(size, generator=self._torch, device=self.device)
        words = self._bits(np.uint32, size)
        # 24 bits are what a float32 below 1 can hold; more would round some draws up to 1.
        return torch.from_numpy((words >> np.uint32(8)).astype(np.float32)).mul_(2.0**-24)

    def below(self, size: int, probability: float) -> Tensor:
        """`[size]` uint8, 1 with the probability, independently; exact to 2^-33."""
        if self.device.type != "cpu":
            return (self.uniform(size) < probability).to(torch.uint8)
        first, rest = divmod(min(round(probability * 2**32), 2**32 - 1), 2**24)
        drawn = self._bits(np.uint8, size)
        kept = drawn < np.uint8(first)
        if rest:  # eight bits decide, but for the one in 256 that drew just the limit: those draw 24 more
            open_ = np.flatnonzero(drawn == np.uint8(first))
            kept[open_] = (self._bits(np.uint32, open_.size) >> np.uint32(8)) < np.uint32(rest)
        return torch.from_numpy(kept.view(np.uint8))

    def _bits(self, kind: type[np.unsignedinteger[Any]], size: int) -> "np.ndarray[tuple[int], np.dtype[Any]]":
        words = -(-size * np.dtype(kind).itemsize // 8)  # rounded up
        return self._raw.integers(0, 2**64, words, dtype=np.uint64).view(kind)[:size]


def keep_some(size: int, probability: float, draws: Draws) -> Tensor:
    """Mark each of `size` entries with one probability, `[size]` uint8."""
    if probability <= 0 or probability >= 1:
        return torch.full((size,), int(probability > 0), dtype=torch.uint8, device=draws.device)
    mask = torch.empty(size, dtype=torch.uint8, device=draws.device)
    for block in blocks(size, draws.device):
        mask[block] = draws.below(block.stop - block.start, probability)
    return mask


def keep_ranked(
    tensor: Tensor, base: Tensor, density: float, epsilon: float, draws: Draws, *, unbiased: bool = False
) -> Tensor:
    r"""Mark entries of θ − θ_0 with a probability that grows with their magnitude's rank in their row.

    $$ p_j = (d - \epsilon) + 2 \epsilon \, \frac{j}{c - 1} $$

    for the entry at place j = 0 … c−1 of a row in ascending order of magnitude (equal ones in the order of their columns); d in a row of one. A row runs along
    dimension 1, or is the whole of a tensor with fewer dimensions.

    Args:
        tensor (`Tensor`): θ, of its own shape.
        base (`Tensor`): θ_0, of the same.
        density (`float`): d.
        epsilon (`float`): ε, with d ± ε within (0, 1).
        draws (`Draws`): where chance comes from.
        unbiased (`bool`): mark with 1/p_j instead of 1, so that the expectation is the delta itself.

    Returns:
        `Tensor`: flat, uint8, or of the working dtype where `unbiased`.
    """
    rows = tensor.reshape(1, -1, 1) if tensor.dim() < 2 else tensor.reshape(tensor.shape[0], tensor.shape[1], -1)
    base = base.reshape(rows.shape)
    dtype = work_dtype([tensor], base)
    chances = _chances(rows.shape[1], density, epsilon, tensor.device)
    marks = (1 / chances).to(dtype) if unbiased else torch.ones_like(chances, dtype=torch.uint8)
    mask = torch.empty(rows.shape, dtype=marks.dtype, device=tensor.device)
    # Whole rows at a time: their ranks are temporaries, and so never of the tensor's size.
    limit = (1 << 18) if tensor.device.type == "cpu" else GPU_BLOCK
    step = max(1, limit // max(1, rows[:1].numel()))
    for i in range(0, rows.shape[0], step):
        magnitudes = delta(rows, base, slice(i, i + step), dtype).abs_().transpose(1, 2)
        order = _ascending(magnitudes)
        kept = (draws.uniform(order.numel()).view(order.shape) < chances) * marks
        part = torch.empty_like(kept).scatter_(-1, order, kept)
        mask[i : i + step] = part.transpose(1, 2)
    return mask.view(-1)


def _ascending(magnitudes: Tensor) -> Tensor:
    """Indices that sort the last dimension; equal magnitudes stay in order."""
    if magnitudes.dtype != torch.float32:
        return magnitudes.argsort(dim=-1, stable=True)
    # The bits of floats that are not negative sort as integers. With the column in the low half every key is its own, so that any sort is stable,
    # and sorting plain integers is vectorised: the whole method takes a fifth of the time that it takes with argsort.
    columns = torch.arange(magnitudes.shape[-1], device=magnitudes.device)
    keys = magnitudes.contiguous().view(torch.int32).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(columns)
    if keys.device.type == "cpu":
        keys.numpy().sort(axis=-1)
    else:
        keys = keys.sort(dim=-1).values
    return keys.bitwise_and_(2**32 - 1)


def _chances(columns: int, density: float, epsilon: float, device: torch.device) -> Tensor:
    if columns == 1:
        return torch.full((1,), density, device=device)
    return torch.linspace(density - epsilon, density + epsilon, columns, device=device)
