"""Divide a model's tensors into blocks of layers that share their soup coefficients."""

import itertools
import re
from collections.abc import Iterable, Sequence

from frontier.errors import InputError
from frontier.realize.merging.checkpoint import EMBEDDINGS

ALL, EMBEDDING, HEAD = "all", "embeddings", "head"
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")
_RANGE = re.compile(r"layers (\d+)-(\d+)")
_EARLY = (*EMBEDDINGS, "wpe.weight", "position_embeddings.weight", "embed_positions.weight")


def place_of(tensor: str) -> str:
    """Where in the model a tensor is: the number of its layer as text, `embeddings`, or `head` (the output layer and what else follows the layers).

    Example:
        >>> place_of("model.layers.3.mlp.up_proj.weight"), place_of("model.embed_tokens.weight"), place_of("lm_head.weight")
        ('3', 'embeddings', 'head')
    """
    layer = _LAYER.search(tensor)
    if layer is not None:
        return layer[1]
    return EMBEDDING if tensor.endswith(_EARLY) else HEAD


def places_of(tensors: Iterable[str]) -> tuple[str, ...]:
    """The places of all tensors, each once: embeddings, the layers in order, head."""
    found = {place_of(name) for name in tensors}
    layers = sorted(int(place) for place in found if place.isdigit())
    return (*(p for p in (EMBEDDING,) if p in found), *map(str, layers), *(p for p in (HEAD,) if p in found))


def blocks_of(places: Sequence[str], count: int) -> tuple[str, ...]:
    """The blocks that these places are divided into: `count` even runs of layers, the embeddings and the head each by themselves.

    Args:
        places (`Sequence[str]`): of the tensors that the experts change, as `places_of` gives them. What no expert changes needs no coefficients.
        count (`int`): of the runs of layers, at most as many as there are layers; 0 = one block, `all`, for the whole model.

    Raises:
        InputError: `count` is negative or larger than the number of layers.

    Example:
        >>> blocks_of(("0", "1", "2", "3", "head"), 2)
        ('layers 0-1', 'layers 2-3', 'head')
    """
    layers = [int(place) for place in places if place.isdigit()]
    if count == 0:
        return (ALL,)
    if not 0 < count <= max(len(layers), 1):
        raise InputError(f"blocks must be 0 (one for the whole model) to {len(layers)}, a layer each; found {count}")
    edges = [round(i * len(layers) / count) for i in range(count + 1)] if layers else []
    runs = [layers[a:b] for a, b in itertools.pairwise(edges)]
    named = [f"layers {run[0]}-{run[-1]}" for run in runs]
    return (*(p for p in places if p == EMBEDDING), *named, *(p for p in places if p == HEAD))


def holds(block: str, place: str) -> bool:
    """Whether a place lies in a block."""
    run = _RANGE.fullmatch(block)
    if run is not None:
        return place.isdigit() and int(run[1]) <= int(place) <= int(run[2])
    return block in (ALL, place)


def check_blocks(blocks: Sequence[str]) -> None:
    """Refuse a name that is no block's, and blocks that overlap.

    Raises:
        InputError: names the block.
    """
    taken: set[int] = set()
    if not blocks or len(set(blocks)) < len(blocks) or (ALL in blocks and len(blocks) > 1):
        raise InputError(f"blocks must be '{ALL}' alone, or different ones; found {', '.join(blocks) or 'none'}")
    for block in blocks:
        run = _RANGE.fullmatch(block)
        if run is None and block not in (ALL, EMBEDDING, HEAD):
            raise InputError(
                f"unknown block '{block}': valid are '{ALL}', '{EMBEDDING}', '{HEAD}' and such as 'layers 0-3'"
            )
        layers = set(range(int(run[1]), int(run[2]) + 1)) if run else set()
        if run and not layers:
            raise InputError(f"block '{block}' ends before it begins")
        if layers & taken:
            raise InputError(f"block '{block}' shares layer {min(layers & taken)} with another")
        taken |= layers
