"""A base with a LoRA merged into it on the fly, as one more model to merge: no merged copy is ever written."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.merging.reference import ADAPTER, INDEX, WEIGHTS, Reference, find_folder
from frontier.realize.merging.tensor_files import Layout


class WithLora:
    r"""$W_0 + \Delta W$ of every tensor, the sum in float32 and never rounded to the base's dtype.

    As in PEFT the adapter of an embedding leaves a tied output layer alone and the other way round, so that such a model's two are no longer tied.

    Args:
        base (`Checkpoint`): the model that the adapter was trained on.
        lora (`LoraFolder`): the adapter.
        name (`str`): how messages call the two.

    Raises:
        InputError: the adapter changes tensors that the base does not have.
    """

    def __init__(self, base: Checkpoint, lora: LoraFolder, name: str) -> None:
        self.base, self.lora, self.name = base, lora, name
        self.folder, self.config = base.folder, base.config
        self.layouts: dict[str, Layout] = dict(base.layouts)
        self.tied = dict(base.tied)
        changed = set(lora.tensors)
        for output, embedding in base.tied.items():
            if changed & {output, embedding}:
                self.layouts[output] = base.layouts[embedding]
                del self.tied[output]
        for tensor in lora.tensors:
            if tensor not in self.layouts:
                raise InputError(
                    f"{lora.path} changes '{tensor}', which {base.name} does not have: this is not the adapter's base"
                )
        self._changed = changed
        self._own = threading.local()

    @property
    def sha256(self) -> str:
        """Of the base's index."""
        return self.base.sha256

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """See `TensorSource`. The last tensor of each thread is kept, for a caller that takes it in pieces."""
        if name not in self._changed:
            return self.base.read(self.base.tied.get(name, name), start, stop)
        if getattr(self._own, "name", None) != name:
            stored = self.base.mapped(name)
            delta = self.lora.delta(name, _Tensors(self.base))
            wide = torch.promote_types(stored.dtype, delta.dtype)
            # ΔW is fresh memory of the right size, so the sum goes into it.
            self._own.tensor = delta.to(wide).add_(stored).reshape(-1)
            self._own.name = name
        part: Tensor = self._own.tensor[start:stop]
        if stop == self.layouts[name].numel:
            self._own.name = self._own.tensor = None
        return part

    def read_into(self, memory: Tensor, name: str, start: int, stop: int) -> Tensor:
        """See `ReadsInto`."""
        if name in self._changed:
            return self.read(name, start, stop)
        return self.base.read_into(memory, self.base.tied.get(name, name), start, stop)

    def in_pieces(self, name: str) -> bool:
        """See `TensorSource`."""
        return name not in self._changed

    def place(self, name: str) -> str:
        """See `TensorSource`."""
        where = self.base.place(self.base.tied.get(name, name))
        return f"{where} with {self.lora.path}" if name in self._changed else where


class _Tensors(Mapping[str, Tensor]):
    """A checkpoint's tensors by name, each read when its elements are."""

    def __init__(self, base: Checkpoint) -> None:
        self._base = base

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise KeyError(name)
        return self._base.mapped(name)

    def __contains__(self, name: object) -> bool:
        return name in self._base.layouts or name in self._base.tied

    def __iter__(self) -> Iterator[str]:
        return iter([*self._base.layouts, *self._base.tied])

    def __len__(self) -> int:
        return len(self._base.layouts) + len(self._base.tied)


def open_model(reference: Reference) -> tuple[Checkpoint | WithLora, list[str]]:
    """The model that a configuration names, and what is worth telling about it.

    Args:
        reference (`Reference`): a model, a model with an adapter, or an adapter alone, which stands on the base that its configuration names.

    Raises:
        InputError: a folder is missing or broken, or an adapter does not fit its base.
    """
    folder = find_folder(reference.model)
    if reference.lora is not None:
        return _with_lora(reference.model, folder, find_folder(reference.lora), str(reference))
    if _is_adapter(folder):
        lora = LoraFolder.read(folder)
        if lora.base is None:
            raise InputError(f"model '{reference}' is an adapter that does not name its base: write BASE+{reference}")
        name = lora.base if Path(lora.base).is_dir() or not lora.revision else f"{lora.base}@{lora.revision}"
        try:
            base = find_folder(name)
        except InputError as error:
            raise InputError(
                f"model '{reference}' is an adapter of {lora.base}; write BASE+{reference} if that moved ({error})"
            ) from error
        return WithLora(Checkpoint(base, name), lora, str(reference)), []
    return Checkpoint(folder, str(reference)), []


def _with_lora(model: str, folder: Path, adapter: Path, name: str) -> tuple[WithLora, list[str]]:
    lora = LoraFolder.read(adapter)
    notes = []
    if lora.base is not None and Path(lora.base).name != Path(model.partition("@")[0]).name:
        notes.append(f"{adapter} says that it was trained on {lora.base}; it was merged into {model}")
    return WithLora(Checkpoint(folder, model), lora, name), notes


def _is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER).is_file() and not any((folder / name).is_file() for name in (WEIGHTS, INDEX))
