"""Join, thin out and trim the key-value caches of rows that come and go; rows are padded on the left to a common length."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

from frontier.errors import InputError


def check_cache(config: PretrainedConfig) -> None:
    """Refuse models whose cache is not one growing pair of keys and values per layer: cutting and joining others would silently be wrong.

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


def _pairs(cache: DynamicCache) -> list[tuple[Tensor, Tensor]]:
    pairs = []
    for index, layer in enumerate(cache.layers):
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise RuntimeError(f"layer {index} of the cache is a {type(layer).__name__} without plain keys and values")
        pairs.append((layer.keys, layer.values))
    return pairs


def joined(first: DynamicCache, second: DynamicCache) -> DynamicCache:
    """The rows of both, `first`'s before `second`'s, the shorter one padded with zeros on the left."""
    length = max(first.get_seq_length(), second.get_seq_length())

    def padded(tensor: Tensor) -> Tensor:
        # Zeros, not whatever is in memory: a masked NaN would still be a NaN in the sum over positions.
        return functional.pad(tensor, (0, 0, length - tensor.shape[-2], 0))

    both = zip(_pairs(first), _pairs(second), strict=True)
    return DynamicCache([tuple(torch.cat([padded(x), padded(y)]) for x, y in zip(a, b, strict=True)) for a, b in both])


def kept(cache: DynamicCache, rows: Sequence[int], length: int) -> DynamicCache:
    """Only these rows and only the last `length` positions.

    Args:
        cache (`DynamicCache`): of B rows; may be changed in place.
        rows (`Sequence[int]`): at least one, ascending.
        length (`int`): of the longest row that stays.
    """
    pairs = _pairs(cache)
    if len(rows) < pairs[0][0].shape[0]:
        cache.batch_select_indices(torch.tensor(rows, device=pairs[0][0].device))
    if length < cache.get_seq_length():
        # A copy, so that the memory of the trimmed positions is given back.
        return DynamicCache([tuple(t[..., -length:, :].contiguous() for t in pair) for pair in _pairs(cache)])
    return cache
