"""The inner products of the objectives' gradients, which is all that most aggregators ask for, without all of the gradients at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from frontier.errors import InputError
from moalign.scalarize.backward_blocks import Block, backward_blocks

# Columns of the gradients that are brought to float64 at once.
_COLUMNS = 1 << 20


def streamed_gramian(losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    r"""`[K, K]`, $G = J J^\top$ of the objectives' gradients $J$ `[K, P]`, which is never in memory ([Quinton & Rey, 2024](https://arxiv.org/abs/2406.16232), section 6).

    The K backward passes go side by side through one block of the model after the other ([`backward_blocks`]); a block's gradients are multiplied with each
    other, added to G and dropped. Each node of the graph runs once per objective, so that the cost is that of K backward passes and the gradients are those of
    `torch.autograd.grad`, bit for bit. Products and sums are taken in float64.

    torchjd's `autogram.Engine` does the same by hooks on modules that own parameters; experts are stacked without calling theirs, so that it finds nothing.

    Args:
        losses (`Sequence[Tensor | None]`): one scalar per objective; `None` or NaN is a missing one. Their graph is kept.
        parameters (`Sequence[Tensor]`): require a gradient.

    Returns:
        `Tensor` `[K, K]`: float64, on the CPU; NaN in the rows and columns of missing objectives.

    Raises:
        InputError: a gradient is not finite, or a loss has none.
    """
    known = known_losses(losses)
    products = _Products(len(known))
    if known:
        given = list(known.values())
        roots: list[dict[GradientEdge, Tensor]] = [{get_gradient_edge(loss): torch.ones_like(loss)} for loss in given]
        for block in backward_blocks(given, parameters, copies=len(given)):
            roots = _through(block, roots, parameters, products)
    gramian = products.total()
    for i, (k, loss) in enumerate(known.items()):
        if not gramian[i, i].isfinite():
            raise not_finite(k, loss)
    return _spread(gramian, torch.tensor(list(known), dtype=torch.long), len(losses))


def gramian_of(rows: Tensor, present: Tensor) -> Tensor:
    """The same `[K, K]` of gradients that are at hand: one of `rows` for each objective that is `present`, a `[K]` of bools."""
    products = _Products(len(rows))
    if len(rows):
        products.add(list(rows))
    return _spread(products.total(), present.cpu().nonzero()[:, 0], len(present))


def _spread(gramian: Tensor, known: Tensor, count: int) -> Tensor:
    """`[K, K]` from that of the objectives that are known, by their numbers; NaN for the others."""
    found = torch.full((count, count), torch.nan, dtype=torch.float64)
    found[known[:, None], known] = gramian
    return found


def known_losses(losses: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """The losses of the objectives that are not missing, by their numbers.

    Raises:
        InputError: a loss has no gradient.
    """
    known = {k: loss for k, loss in enumerate(losses) if loss is not None and not loss.isnan()}
    for k, loss in known.items():
        if not loss.requires_grad:
            raise InputError(f"the loss of objective {k} has no gradient: it was detached, or computed without one")
    return known


def not_finite(objective: int, loss: Tensor) -> InputError:
    """The error for a gradient that is infinite or NaN."""
    return InputError(f"the gradient of objective {objective} is not finite (its loss is {loss.item():.4g})")


def _through(
    block: Block, starts: Sequence[dict[GradientEdge, Tensor]], parameters: Sequence[Tensor], products: "_Products"
) -> list[dict[GradientEdge, Tensor]]:
    """Take every objective's gradients from the block's start to its end, and the parameters' to their products."""
    inputs: list[Any] = [*(parameters[i] for i in block.parameters), *block.ends]
    number = len(block.parameters)
    rows: list[Sequence[Tensor | None]] = []
    ends: list[dict[GradientEdge, Tensor]] = []
    for start in starts:
        if not start or not inputs:  # nothing of this objective leads here
            rows.append([None] * number)
            ends.append({})
            continue
        # Kept for the other objectives, and for the step that the weights decide.
        found = torch.autograd.grad(list(start), inputs, list(start.values()), retain_graph=True, allow_unused=True)
        start.clear()
        rows.append(found[:number])
        ends.append({edge: g for edge, g in zip(block.ends, found[number:], strict=True) if g is not None})
    for gradients in zip(*rows, strict=True):
        products.add(gradients)
    return ends


class _Products:
    """Sums of the inner products of K gradients, tensor by tensor, on the devices where they lie."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._sums: dict[torch.device, Tensor] = {}

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """K gradients of one tensor; `None` is 0."""
        there = [k for k, g in enumerate(gradients) if g is not None]
        if not there:
            return
        flat = [g.detach().flatten() for g in gradients if g is not None]
        device = flat[0].device
        wide = torch.float32 if device.type == "mps" else torch.float64  # which Apple's GPUs lack
        if device not in self._sums:
            self._sums[device] = torch.zeros(self.count, self.count, dtype=wide, device=device)
        products = torch.zeros(len(there), len(there), dtype=wide, device=device)
        for start in range(0, flat[0].numel(), _COLUMNS):
            rows = torch.stack([g[start : start + _COLUMNS] for g in flat]).to(wide)
            products.addmm_(rows, rows.T)
        if len(there) == self.count:
            self._sums[device] += products
        else:
            places = torch.tensor(there, device=device)
            self._sums[device][places[:, None], places] += products

    def total(self) -> Tensor:
        """`[K, K]`."""
        parts = [part.cpu().double() for part in self._sums.values()]
        return torch.stack(parts).sum(0) if parts else torch.zeros(self.count, self.count, dtype=torch.float64)
