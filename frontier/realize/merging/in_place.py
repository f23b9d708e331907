"""Merge into the tensors of a loaded model, which may tie other names than the merged models do."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.tensor_files import Layout


def overwritten(
    into: Mapping[str, Tensor], layouts: Mapping[str, Layout], tied: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors that a merge fills, and those that get a copy afterwards, all flat.

    Args:
        into (`Mapping[str, Tensor]`): the loaded model's state dict.
        layouts (`Mapping[str, Layout]`): of the merged tensors.
        tied (`Mapping[str, str]`): names that are one tensor in every merged model, each to the merged name. Where `into` has its own tensor for one, that is filled too.

    Raises:
        InputError: a tensor is missing, of another shape, not contiguous or of whole numbers, or two tensors that get different values lie in the same memory.
    """
    merged = {name: _flat(into, name, layout) for name, layout in layouts.items()}
    copies = {
        name: _flat(into, name, layouts[shared])
        for name, shared in tied.items()
        if name in into and into[name].data_ptr() != merged[shared].data_ptr()
    }
    # Copies of one tensor may share a memory among themselves.
    apart = {(into[name].data_ptr(), tied[name]): name for name in copies}
    _check_apart({**merged, **{name: copies[name] for name in apart.values()}})
    return merged, copies


def _flat(into: Mapping[str, Tensor], name: str, layout: Layout) -> Tensor:
    found, shape = into.get(name), layout.shape
    if found is None or tuple(found.shape) != shape:
        told = "is missing" if found is None else f"is {list(found.shape)}"
        raise InputError(f"into: tensor '{name}' {told}, the merge of it is {list(shape)}")
    if not found.is_contiguous():
        raise InputError(f"into: tensor '{name}' is not contiguous: its elements cannot be overwritten in order")
    if layout.dtype.is_floating_point and not found.is_floating_point():
        raise InputError(f"into: tensor '{name}' is {found.dtype}, which cannot hold what is merged")
    return found.detach().view(-1)


def _check_apart(targets: Mapping[str, Tensor]) -> None:
    """Refuse two names for one memory, where the second write would silently undo the first."""
    places: dict[torch.device, list[tuple[int, int, str]]] = {}
    for name, flat in targets.items():
        if flat.numel() and flat.device.type != "meta":
            start = flat.data_ptr()
            places.setdefault(flat.device, []).append((start, start + flat.numel() * flat.element_size(), name))
    for found in places.values():
        found.sort()
        for (_, end, name), (start, _, other) in pairwise(found):
            if start < end:
                raise InputError(
                    f"into: '{name}' and '{other}' lie in the same memory, and the merge has different values for them: the models do not tie them; "
                    "load the model with tie_word_embeddings=False"
                )
