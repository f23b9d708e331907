"""Keep exactly the k entries of a delta that are largest in magnitude, quickly and without copies of its size."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import blocks, work_dtype


def delta(tensor: Tensor, base: Tensor, block: slice, dtype: torch.dtype) -> Tensor:
    """θ − θ_0 in one block of two flat tensors, subtracted in the working dtype and not in bfloat16."""
    piece = tensor[block].to(dtype, copy=True)
    return piece.sub_(base[block])


def keep_largest(tensor: Tensor, base: Tensor, count: int, *, prefer_last: bool = False) -> Tensor:
    """Mark the `count` entries of θ − θ_0 with the largest magnitude, exactly that many.

    Besides the mask (one byte an entry) it needs one temporary of the tensor's size on a CPU. Entries that are exactly 0 are never told apart: when
    they are reached, all are marked, which changes no merge.

    Args:
        tensor (`Tensor`): θ, flat, `[n]`.
        base (`Tensor`): θ_0, flat, `[n]`.
        count (`int`): between 0 and n.
        prefer_last (`bool`): of equal magnitudes at the threshold the last are kept; else the first.

    Returns:
        `Tensor`: `[n]` uint8, 1 where kept.
    """
    size, device = tensor.numel(), tensor.device
    if count <= 0 or count >= size:
        return torch.full((size,), int(count > 0), dtype=torch.uint8, device=device)
    dtype = work_dtype([tensor], base)
    threshold = order_statistic(_magnitudes(tensor, base, dtype), [size - count])[0]
    mask = torch.empty(size, dtype=torch.uint8, device=device)
    for block in blocks(size, device):
        piece = delta(tensor, base, block, dtype).abs_()
        mask[block] = piece.ge_(threshold)  # as floats: comparing into bool or uint8 is several times slower on a CPU
    excess = int(torch.count_nonzero(mask)) - count
    if excess > 0 and threshold > 0:
        order = blocks(size, device) if prefer_last else reversed(list(blocks(size, device)))
        _unmark(mask, excess, order, tensor, base, threshold, prefer_last)
    return mask


def _magnitudes(tensor: Tensor, base: Tensor, dtype: torch.dtype) -> Tensor:
    magnitudes = torch.empty(tensor.numel(), dtype=dtype, device=tensor.device)
    for block in blocks(tensor.numel(), tensor.device):
        torch.abs(delta(tensor, base, block, dtype), out=magnitudes[block])
    return magnitudes


def order_statistic(values: Tensor, ranks: Sequence[int]) -> list[float]:
    """The values at some places (from 0) in ascending order; the given ones are rearranged."""
    if values.device.type != "cpu":
        return [float(values.kthvalue(rank + 1).values) for rank in ranks]
    # In place and vectorised: 14 times faster than kthvalue, which also copies and carries 8-byte indices along.
    array = values.numpy()
    array.partition(list(ranks) if len(ranks) > 1 else ranks[0])
    return [float(array[rank]) for rank in ranks]


def _unmark(
    mask: Tensor,
    excess: int,
    order: Iterable[slice],
    tensor: Tensor,
    base: Tensor,
    threshold: float,
    prefer_last: bool,
) -> None:
    """Take `excess` entries that equal the threshold out of the mask, from the end that is not preferred."""
    dtype = work_dtype([tensor], base)
    for block in order:
        equal = (delta(tensor, base, block, dtype).abs_() == threshold).nonzero().view(-1) + block.start
        taken = equal[:excess] if prefer_last else equal[max(0, equal.numel() - excess) :]
        mask[taken] = 0
        excess -= taken.numel()
        if excess == 0:
            return
