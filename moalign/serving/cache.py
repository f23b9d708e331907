"""Keep the keys and values of all rows in one set of buffers: a step writes its own position and copies nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from frontier.errors import InputError

# Buffers grow by whole blocks of positions, and by half of what they have, so that a row of T positions is copied O(log T) times in its life.
GROWTH_BLOCK = 64


def check_cache(config: PretrainedConfig) -> None:
    """Refuse models whose cache is not one growing pair of keys and values per layer: slots for others would silently be wrong.

    Raises:
        InputError: with the kinds of layers found (sliding window, linear attention, shared keys and values, ...).
    """
    kinds = sorted(
        {type(layer).__name__ for layer in DynamicCache(config=config).layers if type(layer) is not DynamicLayer}
    )
    if kinds:
        raise InputError(
            f"a model of type '{config.model_type}' keeps {', '.join(kinds)} in its cache; the batching engine serves models with full "
            "attention in every layer"
        )


@dataclass(frozen=True)
class LayerShape:
    """What one layer keeps per position.

    Args:
        keys (`tuple[int, int]`): heads and their width.
        values (`tuple[int, int]`): heads and their width.
        dtype (`torch.dtype`): of both.
    """

    keys: tuple[int, int]
    values: tuple[int, int]
    dtype: torch.dtype


def layer_shapes(cache: DynamicCache) -> list[LayerShape]:
    """The shapes that a forward with this cache found."""
    shapes = []
    for index, layer in enumerate(cache.layers):
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise InputError(f"layer {index} of the cache is a {type(layer).__name__} without plain keys and values")
        (_, k_heads, _, k_width), (_, v_heads, _, v_width) = layer.keys.shape, layer.values.shape
        shapes.append(LayerShape((k_heads, k_width), (v_heads, v_width), layer.keys.dtype))
    return shapes


def position_bytes(shapes: Sequence[LayerShape]) -> int:
    """Bytes of one token's keys and values in all layers."""
    return sum((s.keys[0] * s.keys[1] + s.values[0] * s.values[1]) * s.dtype.itemsize for s in shapes)


class Window(Protocol):
    """The part of the buffers that one forward writes and reads.

    Attributes:
        new: positions per row that the forward adds.
        length: positions that it reads.
    """

    new: int
    length: int

    def write(self, buffer: Tensor, states: Tensor) -> None:
        """Put `[B, H, new, D]` states where they belong in a `[slots, H, capacity, D]` buffer."""
        ...

    def read(self, buffer: Tensor) -> Tensor:
        """`[B, H, length, D]` of what the forward attends to; whatever is not a row's own is for the mask to hide."""
        ...


class DecodeWindow:
    """One new position for each of the first B slots.

    Args:
        rows (`Tensor`): 0 to B - 1.
        columns (`Tensor`): `[B]`, where each row's new position goes.
        length (`int`): the largest of them + 1.
    """

    new = 1

    def __init__(self, rows: Tensor, columns: Tensor, length: int) -> None:
        self.rows = rows
        self.columns = columns
        self.length = length

    def write(self, buffer: Tensor, states: Tensor) -> None:
        """See `Window`."""
        buffer[self.rows, :, self.columns] = states[:, :, 0]

    def read(self, buffer: Tensor) -> Tensor:
        """See `Window`; a view."""
        return buffer[: len(self.rows), :, : self.length]


class ChunkWindow:
    """A piece of the prompts of some slots; the states are aligned at the right.

    Args:
        slots (`Sequence[int]`): of the B rows.
        starts (`Sequence[int]`): positions that each row has already.
        takes (`Sequence[int]`): positions that each adds.
    """

    def __init__(self, slots: Sequence[int], starts: Sequence[int], takes: Sequence[int]) -> None:
        self.parts = list(zip(slots, starts, takes, strict=True))
        self.slots = list(slots)
        self.new = max(takes)
        self.length = max(start + take for start, take in zip(starts, takes, strict=True))

    def write(self, buffer: Tensor, states: Tensor) -> None:
        """See `Window`."""
        for i, (slot, start, take) in enumerate(self.parts):
            buffer[slot, :, start : start + take] = states[i, :, -take:]

    def read(self, buffer: Tensor) -> Tensor:
        """See `Window`; a view where the slots are neighbours, otherwise a copy that is small beside the work on a chunk."""
        first = self.slots[0]
        if self.slots == list(range(first, first + len(self.slots))):
            return buffer[first : first + len(self.slots), :, : self.length]
        return buffer[self.slots, :, : self.length]


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc, unused-ignore]
    """One layer's buffers as transformers' models ask for them."""

    def __init__(self, owner: "SlotCache", shape: LayerShape) -> None:
        super().__init__()
        self.owner = owner
        self.shape = shape
        self.keys: Tensor
        self.values: Tensor
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the buffers are the owner's."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write what a forward computed and give what it attends to."""
        window = self.owner.window
        assert window is not None  # set by whoever runs the model
        window.write(self.keys, key_states)
        window.write(self.values, value_states)
        return window.read(self.keys), window.read(self.values)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions that are read, and the offset of the first."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Positions before the forward's own."""
        window = self.owner.window
        return 0 if window is None else window.length - window.new

    def get_max_length(self) -> int:
        """Unknown: the buffers grow."""
        return -1


class SlotCache(Cache):  # type: ignore[misc, unused-ignore]
    """Keys and values of rows in slots: `[slots, heads, capacity, width]` per layer, each row from position 0 of its slot.

    Buffers grow when they must, never beyond `max_cells` positions (slots x capacity), and are zeros where nothing was written: a masked NaN
    would still be a NaN in the sum over positions.

    Args:
        shapes (`Sequence[LayerShape]`): of the model's layers.
        device (`torch.device`): of the buffers.
        max_slots (`int`): rows at most.
        max_cells (`int`): slots x capacity at most.
        compiled (`bool`, *optional*, defaults to `False`): tell `torch.compile` that buffers stay where they are, as CUDA graphs need.
    """

    def __init__(
        self,
        shapes: Sequence[LayerShape],
        device: torch.device,
        max_slots: int,
        max_cells: int,
        compiled: bool = False,
    ) -> None:
        self._compiled = compiled
        self._own = [_SlotLayer(self, shape) for shape in shapes]
        super().__init__(layers=list(self._own))
        self.window: Window | None = None
        self.device = device
        self.max_slots = max_slots
        self.max_cells = max_cells
        self.slots = 0
        self.capacity = 0
        self._allocate(0, 0, [])

    @property
    def buffers(self) -> list[Tensor]:
        """Keys and values of all layers."""
        return [buffer for layer in self._own for buffer in (layer.keys, layer.values)]

    @property
    def nbytes(self) -> int:
        """Memory of the buffers."""
        return sum(buffer.nbytes for buffer in self.buffers)

    def reserve(self, slots: int, length: int, used: Sequence[int]) -> None:
        """Make room for this many rows of this length.

        Args:
            slots (`int`): rows.
            length (`int`): positions of the longest; slots x length is at most `max_cells`.
            used (`Sequence[int]`): positions that each slot holds now; they survive.
        """
        if slots <= self.slots and length <= self.capacity:
            return
        if slots > self.max_slots or slots * length > self.max_cells:
            raise ValueError(
                f"{slots} rows of {length} positions, allowed: {self.max_slots} rows and {self.max_cells} positions in all"
            )
        rows, columns = self.slots, self.capacity
        if slots > rows:
            rows = min(max(slots, 2 * rows), self.max_slots)
        if length > columns:
            columns = -(-max(length, columns * 3 // 2) // GROWTH_BLOCK) * GROWTH_BLOCK
        if rows * columns > self.max_cells:
            rows = max(slots, len(used))
            columns = max(length, min(columns, self.max_cells // rows))
        self._allocate(rows, columns, used)

    def _allocate(self, slots: int, capacity: int, used: Sequence[int]) -> None:
        kept = max(used, default=0)
        for layer in self._own:
            for name, (heads, width) in (("keys", layer.shape.keys), ("values", layer.shape.values)):
                # One buffer after the other, so that only one exists twice.
                new = torch.zeros(slots, heads, capacity, width, dtype=layer.shape.dtype, device=self.device)
                if kept:
                    new[: len(used), :, :kept] = getattr(layer, name)[: len(used), :, :kept]
                if self._compiled:
                    torch._dynamo.mark_static_address(new)
                setattr(layer, name, new)
        self.slots, self.capacity = slots, capacity

    def copy(self, source: int, target: int, length: int) -> None:
        """The first `length` positions of one slot into another."""
        for buffer in self.buffers:
            buffer[target, :, :length] = buffer[source, :, :length]

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange two slots, as far as `length`."""
        for buffer in self.buffers:
            kept = buffer[first, :, :length].clone()
            buffer[first, :, :length] = buffer[second, :, :length]
            buffer[second, :, :length] = kept

    def wipe(self, slot: int) -> None:
        """Zeros instead of whatever a slot holds."""
        for buffer in self.buffers:
            buffer[slot : slot + 1].zero_()

    def take(self, slot: int, start: int, end: int) -> list[Tensor]:
        """A copy of some positions of a slot: one `[H, end - start, D]` tensor for each of `buffers`."""
        return [buffer[slot, :, start:end].clone() for buffer in self.buffers]

    def put(self, slot: int, pieces: Sequence[Sequence[Tensor]]) -> None:
        """Pieces that `take` made, one after the other, at the start of a slot."""
        for buffer, parts in zip(self.buffers, zip(*pieces, strict=True), strict=True):
            whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            buffer[slot, :, : whole.shape[1]] = whole
