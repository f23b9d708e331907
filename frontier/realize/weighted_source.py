"""A base with K adapters at given weights, as one more source of tensors: what a streamed export reads, piece by piece."""

import threading
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder, used_folders
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.merging.tensor_files import Layout


class BaseTensors(Mapping[str, Tensor]):
    """A checkpoint's tensors under the names that adapters use, each read when its elements are.

    Old files of some models (GPT-2's among them) leave out the first part of a name that the model itself and its adapters have: `h.0.attn.c_attn.weight` is
    `transformer.h.0.attn.c_attn.weight`.

    Args:
        base (`Checkpoint`): the files.
        names (`Sequence[str]`): the tensors that adapters change, which tell whether the files leave something out.
    """

    def __init__(self, base: Checkpoint, names: Sequence[str] = ()) -> None:
        self._base = base
        stored = {*base.layouts, *base.tied}
        self._prefix = ""
        heads = {name.partition(".")[0] + "." for name in names if name not in stored}
        if len(heads) == 1:
            head = heads.pop()
            if all(name in stored or name.removeprefix(head) in stored for name in names):
                self._prefix = head

    def stored(self, name: str) -> str | None:
        """What the files call a tensor, `None` where they have none of that name."""
        for own in (name, name.removeprefix(self._prefix)):
            if own in self._base.layouts or own in self._base.tied:
                return own
        return None

    def __getitem__(self, name: str) -> Tensor:
        stored = self.stored(name)
        if stored is None:
            raise KeyError(name)
        return self._base.mapped(stored)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.stored(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([*self._base.layouts, *self._base.tied])

    def __len__(self) -> int:
        return len(self._base.layouts) + len(self._base.tied)


class WeightedAdapters:
    r"""$W_0 + \sum_k w_k \Delta_k$ of every tensor, the sum in float64 and rounded by whoever writes it, once.

    Where factors describe a change, rows of it are made as they are read, so that no more than a piece is in memory; a change that has none (DoRA, tensors stored whole,
    trained biases) is made for one tensor at a time. As in the running model the adapter of an embedding leaves a tied output layer alone and the other way round,
    so that such a model's two are no longer tied.

    Args:
        base (`Checkpoint`): the model that the adapters were trained on.
        folders (`Sequence[LoraFolder]`): K adapters; one of weight 0 is not looked at.
        weights (`Sequence[float]`): K numbers, any sign.
        same_base (`bool`, *optional*, defaults to `True`): refuse folders that name different bases.

    Raises:
        InputError: numbers of folders and weights differ, a weight is not finite, bases differ, or an adapter changes a tensor that the base does not have or has in another shape.
    """

    def __init__(
        self, base: Checkpoint, folders: Sequence[LoraFolder], weights: Sequence[float], *, same_base: bool = True
    ) -> None:
        self.base = base
        self.used = used_folders(folders, weights, same_base)
        self.tensors = BaseTensors(base, [name for folder, _ in self.used for name in folder.tensors])
        # By the files' names: who changes the tensor, and what it is called there.
        self._changed: dict[str, list[tuple[LoraFolder, float, str]]] = {}
        for folder, weight in self.used:
            for name in folder.tensors:
                self._changed.setdefault(self._find(folder, name), []).append((folder, weight, name))
        self.layouts: dict[str, Layout] = dict(base.layouts)
        self.tied = dict(base.tied)
        for output, embedding in base.tied.items():
            if output in self._changed or embedding in self._changed:
                self.layouts[output] = base.layouts[embedding]
                del self.tied[output]
        self._thin = {stored: self._has_factors(stored) for stored in self._changed}
        self._own = threading.local()

    @property
    def name(self) -> str:
        """The base's."""
        return self.base.name

    def changes(self, name: str) -> bool:
        """Whether an adapter of non-zero weight changes the tensor."""
        return name in self._changed

    def _find(self, folder: LoraFolder, name: str) -> str:
        stored = self.tensors.stored(name)
        if stored is None:
            raise InputError(
                f"{folder.path} changes '{name}', which {self.base.name} does not have: this is not the adapter's base"
            )
        return stored

    def _has_factors(self, stored: str) -> bool:
        """Whether all changes of a tensor have factors; looks at every shape, so that a wrong base is refused before anything is written."""
        thin = [folder.product(name, self.tensors) is not None for folder, _, name in self._changed[stored]]
        for folder, _, name in self._changed[stored]:
            if name in folder.whole and folder.whole[name].shape != self.tensors[name].shape:
                raise InputError(
                    f"{folder.path}: '{name}' is {list(folder.whole[name].shape)}, the base's is {list(self.tensors[name].shape)}: this is not the adapter's base"
                )
        return all(thin)

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """See `TensorSource`."""
        return self.read_into(None, name, start, stop)

    def read_into(self, memory: Tensor | None, name: str, start: int, stop: int) -> Tensor:
        """See `ReadsInto`; `None` takes new memory."""
        stored = self.base.tied.get(name, name)
        own = (
            self.base.read(stored, start, stop) if memory is None else self.base.read_into(memory, stored, start, stop)
        )
        if name not in self._changed:
            return own
        if getattr(self._own, "name", None) != name:
            self._own.change = self._factors(name) if self._thin[name] else self._dense(name)
            self._own.name = name
        change: tuple[Tensor, Tensor] | Tensor = self._own.change
        if isinstance(change, Tensor):
            part = change[start:stop]
        else:
            left, right = change
            columns = right.shape[1]
            first = start // columns
            rows = left[first : -(-stop // columns)] @ right
            part = rows.reshape(-1)[start - first * columns : stop - first * columns]
        total = own.double().add_(part)
        if stop == self.layouts[name].numel:
            self._own.name = self._own.change = None
        return total

    def _factors(self, stored: str) -> tuple[Tensor, Tensor]:
        pairs = [(folder.product(name, self.tensors), w) for folder, w, name in self._changed[stored]]
        lefts = [pair[0].double() * w for pair, w in pairs if pair is not None]
        rights = [pair[1].double() for pair, _ in pairs if pair is not None]
        return torch.cat(lefts, dim=1), torch.cat(rights, dim=0)

    def _dense(self, stored: str) -> Tensor:
        total: Tensor | None = None
        for folder, weight, name in self._changed[stored]:
            change = folder.delta(name, self.tensors)
            total = change.mul_(weight) if total is None else total.add_(change, alpha=weight)
        assert total is not None
        return total.reshape(-1)

    def in_pieces(self, name: str) -> bool:
        """See `TensorSource`."""
        return self._thin.get(name, True)

    def place(self, name: str) -> str:
        """See `TensorSource`."""
        where = self.base.place(self.base.tied.get(name, name))
        adapters = [str(folder.path) for folder, _, _ in self._changed.get(name, [])]
        return f"{where} with {', '.join(adapters)}" if adapters else where
