"""Inner products between models, from which every method on a sphere gets its coefficients."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frontier.realize.merging.methods.base import blocks


def gram(tensors: Sequence[Tensor], base: Tensor | None = None) -> NDArray[np.float64]:
    """All inner products between tensors, or between their differences from a base.

    In float64: fine-tuned models point in almost the same direction, and float32 would lose the angle between them.

    Args:
        tensors (`Sequence[Tensor]`): N of one shape.
        base (`Tensor`, *optional*): subtracted from each.

    Returns:
        `NDArray[np.float64]`: `[N, N]`.
    """
    flat = [t.reshape(-1) for t in tensors]
    size, device = flat[0].numel(), flat[0].device
    products = torch.zeros(len(flat), len(flat), dtype=torch.float64, device=device)
    for block in blocks(size, device):
        rows = torch.stack([t[block].to(torch.float64) for t in flat])
        if base is not None:
            rows.sub_(base.reshape(-1)[block])
        products.addmm_(rows, rows.T)
    return np.asarray(products.cpu().numpy())
