"""Cut a backward pass into blocks, so that what it yields of one block can be used up before the next begins."""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

# No block is smaller than this share of the parameters: each costs a search through the graph, and gains less and less.
_SMALLEST = 1 / 16


@dataclass(frozen=True)
class Block:
    """A stretch of the backward pass.

    Args:
        parameters (`tuple[int, ...]`): the parameters, by their number, whose gradients it yields, whole; no other block yields any of them.
        ends (`tuple[GradientEdge, ...]`): where it stops and the next block begins; empty for the last one.
    """

    parameters: tuple[int, ...]
    ends: tuple[GradientEdge, ...]


def backward_blocks(losses: Sequence[Tensor], parameters: Sequence[Tensor], copies: int = 1) -> list[Block]:
    """Blocks of the backward pass from all of these losses, chosen so that the largest holds as few bytes as can be.

    What a block holds is `copies` gradients of its parameters and of the activations at its two ends. For a transformer the blocks are runs of layers, and
    the activations are the hidden states between them. Nothing is cut where it would not be exact or would cost more: where a parameter is used on both
    sides, where a path leads from one end to another, and within what gradient checkpointing computes again as a whole. If nothing is left, there is one block.

    Args:
        losses (`Sequence[Tensor]`): scalars with a gradient; they may share a graph.
        parameters (`Sequence[Tensor]`): leaves, in any order. If some are no leaves there is one block.
        copies (`int`, *optional*, defaults to 1): how many gradients are held of each tensor.

    Returns:
        `list[Block]`: from the losses to the inputs.
    """
    whole = [Block(tuple(range(len(parameters))), ())]
    if not all(p.is_leaf for p in parameters):
        return whole
    roots = [get_gradient_edge(loss).node for loss in losses]
    leaves: dict[Any, int] = {get_gradient_edge(p).node: i for i, p in enumerate(parameters)}
    levels = _levels(roots, set(leaves))
    if any(root in leaves for root in roots) or not levels:
        return whole
    spans, opened = _uses(levels, leaves)
    depth = max(levels.values())
    start = max(levels.get(root, 0) for root in roots)  # one loss may be part of another
    possible = _possible_cuts(levels, spans.values(), opened, range(start, depth))
    size = np.zeros(depth + 1)  # bytes of the parameters that are done with at each level
    for i, (_, last) in spans.items():
        size[last] += parameters[i].numel() * parameters[i].element_size()
    held = np.array([sum(map(_bytes, opened[level])) if level in possible else np.inf for level in range(depth)])
    cuts = _choose(np.cumsum(copies * size), copies * held)
    return _blocks([*cuts, depth], spans, opened)


def _next(node: Any) -> Iterator[tuple[Any, int]]:
    return ((child, number) for child, number in node.next_functions if child is not None)


def _levels(roots: Iterable[Any], leaves: set[Any]) -> dict[Any, int]:
    """Of every inner node that leads to a leaf: the longest way to it from a root, so that the level of a node is below those of all that feed it.

    Layers that run side by side, as those of forwards over several groups of rows, are on one level.
    """
    useful: dict[Any, bool] = {}
    order: list[Any] = []  # every node after those that it leads to
    stack = [(root, False) for root in roots]
    while stack:
        node, done = stack.pop()
        if done:
            useful[node] = node in leaves or any(useful[child] for child, _ in _next(node))
            order.append(node)
        elif node not in useful:
            useful[node] = False
            stack.append((node, True))
            stack.extend((child, False) for child, _ in _next(node) if child not in useful)
    levels: dict[Any, int] = {}
    for node in reversed(order):
        if useful[node] and node not in leaves:
            level = levels.setdefault(node, 0)
            for child, _ in _next(node):
                if useful[child] and child not in leaves:
                    levels[child] = max(levels.get(child, 0), level + 1)
    return levels


def _uses(
    levels: dict[Any, int], leaves: dict[Any, int]
) -> tuple[dict[int, tuple[int, int]], dict[int, list[GradientEdge]]]:
    """First and last level at which each parameter is used, and for each level the edges that cross from it or from above to below it."""
    spans: dict[int, tuple[int, int]] = {}
    first: dict[tuple[Any, int], int] = {}
    for node, level in levels.items():
        for child, number in _next(node):
            if child in leaves:
                low, high = spans.get(leaves[child], (level, level))
                spans[leaves[child]] = min(low, level), max(high, level)
            elif child in levels:
                first[child, number] = min(first.get((child, number), level), level)
    opened: dict[int, list[GradientEdge]] = {level: [] for level in range(max(levels.values(), default=0) + 1)}
    for (child, number), start in first.items():
        for level in range(start, levels[child]):
            opened[level].append(GradientEdge(child, number))
    return spans, opened


def _possible_cuts(
    levels: dict[Any, int],
    spans: Iterable[tuple[int, int]],
    opened: dict[int, list[GradientEdge]],
    among: range,
) -> set[int]:
    """The levels below which the pass may be cut."""
    crossed = np.zeros(among.stop + 1, dtype=int)
    for low, high in (*spans, *_recomputed(levels)):
        crossed[low] += 1
        crossed[high] -= 1
    free = np.cumsum(crossed) == 0
    # On one level no edge leads to another: a gradient that is cut there would else arrive twice.
    return {level for level in among if free[level] and len({levels[edge.node] for edge in opened[level]}) == 1}


def _recomputed(levels: dict[Any, int]) -> list[tuple[int, int]]:
    """First and last level of each piece that gradient checkpointing computes again: half used, it would be computed twice and its rest kept."""
    found: dict[Any, tuple[int, int]] = {}
    for node, level in levels.items():
        for name in _saved_by(node.__class__):
            saved = getattr(node, name)
            for one in saved if isinstance(saved, (tuple, list)) else (saved,):
                hook = getattr(one, "unpack_hook", None)
                # One per piece; other hooks, as those that move activations to the CPU, serve a whole forward.
                if getattr(hook, "__module__", None) == "torch.utils.checkpoint":
                    low, high = found.get(hook, (level, level))
                    found[hook] = min(low, level), max(high, level)
    return list(found.values())


@functools.cache
def _saved_by(kind: Any) -> tuple[str, ...]:
    """Names of what a class of nodes keeps for the backward pass."""
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))


def _bytes(edge: GradientEdge) -> int:
    about: Any = edge.node
    tensor = about._input_metadata[edge.output_nr]
    return math.prod(int(n) for n in tensor.shape) * int(tensor.dtype.itemsize)


def _choose(done: NDArray[np.float64], held: NDArray[np.float64]) -> list[int]:
    """The levels to cut below, so that the largest block is smallest (dynamic programming over the cuts).

    Args:
        done (`NDArray`): `[L]`, bytes of the parameters' gradients up to each level.
        held (`NDArray`): `[L - 1]`, bytes that a cut below each level holds; infinite where there may be none.
    """
    places = [int(level) for level in np.flatnonzero(np.isfinite(held)) if 0 < done[level] < done[-1]]
    # Of cuts between the same parameters the narrowest, -1 stands for the losses.
    best: dict[float, int] = {}
    for level in places:
        if done[level] not in best or held[level] < held[best[done[level]]]:
            best[done[level]] = level
    places = [-1, *sorted(best.values()), len(done) - 1]
    amount = np.array([0.0, *done[places[1:]]])
    width = np.array([0.0, *held[places[1:-1]], 0.0])
    largest, before = np.zeros(len(places)), np.zeros(len(places), dtype=int)
    for j in range(1, len(places)):
        between = amount[j] - amount[:j]
        peak = np.maximum(largest[:j], width[:j] + width[j] + between)
        # From the losses on there is always a way, so that there is an answer.
        peak[1:][between[1:] < _SMALLEST * done[-1]] = np.inf
        before[j] = int(np.argmin(peak))
        largest[j] = peak[before[j]]
    cuts, j = [], int(before[-1])
    while j > 0:
        cuts.append(places[j])
        j = int(before[j])
    return cuts[::-1]


def _blocks(
    cuts: Sequence[int], spans: dict[int, tuple[int, int]], opened: dict[int, list[GradientEdge]]
) -> list[Block]:
    found, start = [], -1
    for cut in cuts:
        inside = tuple(i for i, (low, _) in sorted(spans.items()) if start < low <= cut)
        found.append(Block(inside, tuple(opened[cut])))
        start = cut
    return found
