"""Which weights each row of the batch asked for: its own in every context and thread, found by compiled code too."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
_ABSENT: Any = object()
# The column in the weights, how many neighbouring values it scales, and a factor that goes with it.
Columns = tuple[tuple[int, int, float], ...]


class RowWeights:
    """The weights of one open `AdapterMixture.steer` context, with what layers derive from them.

    Args:
        names (`tuple[str, ...]`): the K adapters.
        weights (`Tensor`): `[B, K]`, or `[1, K]` for the same weights in every row of any batch.
    """

    def __init__(self, names: tuple[str, ...], weights: Tensor) -> None:
        self.names = names
        self.weights = weights
        self._kept: dict[tuple[Any, ...], Any] = {}

    def keep(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What `make` returned for this key before; kept for the life of the context, and only where no gradient flows."""
        found = self._kept.get(key, _ABSENT)
        if found is _ABSENT:
            found = self._kept[key] = make()
        return cast("T", found)

    def scale(self, columns: Columns, rows: int, dims: int, like: Tensor) -> Tensor:
        """A diagonal for each row, `[rows or 1, 1..., Σ repeats]`, ready to multiply activations of `rows` rows.

        Args:
            columns (`tuple`): of each expert its column in the weights, how many entries of the diagonal it has (the rank) and its factor s_k.
            rows (`int`): first size of the activations: a multiple of B (beams, several sequences per prompt and flattened tokens all repeat a row in
                place, so the weights are repeated in the same way).
            dims (`int`): number of dimensions of the activations.
            like (`Tensor`): has the activations' device and dtype; a dtype of half precision gives a diagonal in float32, so that w_k s_k is not rounded.

        Raises:
            ValueError: `rows` is no multiple of B.
        """
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._scale(columns, rows, dims, like)
        # Most layers of a model have the same ranks and factors.
        key = (columns, rows, dims, like.dtype, like.device)
        return self.keep(key, lambda: self._scale(columns, rows, dims, like))

    def _scale(self, columns: Columns, rows: int, dims: int, like: Tensor) -> Tensor:
        parts = [self.weights[:, k : k + 1].expand(-1, repeats) * factor for k, repeats, factor in columns]
        return self.spread(torch.cat(parts, dim=1), rows, dims, like)

    def combine(self, columns: Columns, vectors: Tensor, rows: int, dims: int) -> Tensor:
        """Σ_k w_k f_k v_k of each row, `[rows or 1, 1..., d]`, for one vector v_k a column: `[n, d]`."""
        factors = torch.cat([self.weights[:, k : k + 1] * factor for k, _, factor in columns], dim=1)
        whole = torch.promote_types(vectors.dtype, torch.float32)
        mixed = factors.to(vectors.device, whole) @ vectors.to(whole)
        return self.spread(mixed, rows, dims, mixed)

    def spread(self, values: Tensor, rows: int, dims: int, like: Tensor) -> Tensor:
        """`[B, d]` to `[rows or 1, 1..., d]`: each row's values at each of the rows that repeat it."""
        given = values.shape[0]
        if given > 1:
            if rows % given:
                raise ValueError(
                    f"the batch has {rows} rows, which is no multiple of the {given} rows of weights given to steer()"
                )
            values = values.repeat_interleave(rows // given, dim=0) if rows != given else values
        values = values.to(like.device, torch.promote_types(like.dtype, torch.float32))
        return values.view(values.shape[0], *[1] * (dims - 2), values.shape[1])


Active = Mapping[int, RowWeights]
_NOTHING: Active = MappingProxyType({})

# A context variable and not an attribute of the layers: concurrent requests and threads each see their own weights (peft #804).
_ACTIVE: ContextVar[Active] = ContextVar("moalign_row_weights", default=_NOTHING)


class _Thread(threading.local):
    """The same for code that torch.compile traces, which cannot read context variables but can read a thread's own."""

    active: Active = _NOTHING


_THREAD = _Thread()


def row_weights(mixture_id: int) -> RowWeights:
    """The weights of the innermost open context of this mixture.

    Raises:
        RuntimeError: none is open; a forward without weights would silently add up all adapters.
    """
    active = (_THREAD.active if torch.compiler.is_compiling() else _ACTIVE.get()).get(mixture_id)
    if active is None:
        raise RuntimeError(
            "this model is steerable and no weights are set: call it inside `mixture.steer(weights)` "
            "(with gradient checkpointing: pass `mixture.checkpoint_context` as `context_fn`)"
        )
    return active


def open_row_weights(mixture_id: int) -> RowWeights | None:
    """The same, or `None` where no context is open."""
    return _ACTIVE.get().get(mixture_id)


@contextmanager
def opened(mixture_id: int, rows: RowWeights) -> Iterator[None]:
    """Inside, `row_weights` of this mixture returns these."""
    active = {**_ACTIVE.get(), mixture_id: rows}
    token, before = _ACTIVE.set(active), _THREAD.active
    _THREAD.active = active
    try:
        yield
    finally:
        _THREAD.active = before
        _ACTIVE.reset(token)
