"""The experts of a soup on disk: LoRA folders or finetuned models over one base, and what each changes in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from frontier.realize.lora_folder import LoraFolder, mix
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.merging.reference import ADAPTER, find_folder
from frontier.realize.soup.blocks import place_of, places_of
from frontier.realize.soup.soup import Soup

Part = LoraFolder | Checkpoint


@dataclass(frozen=True)
class Experts:
    r"""K experts over one base; expert k changes it by $\Delta_k$, the sum of what its parts change.

    Most experts have one part. The experts of a policy with a shared adapter have two, their own adapter and the shared one.

    Args:
        names (`tuple[str, ...]`): K names.
        parts (`tuple[Part, ...]`): P LoRA folders or whole models, each once.
        holds (`tuple[tuple[int, ...], ...]`): the places in `parts` of each expert's own.

    Raises:
        InputError: names that come twice.
    """

    names: tuple[str, ...]
    parts: tuple[Part, ...]
    holds: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, folders: Mapping[str, str | Path], shared: str | Path | None = None) -> "Experts":
        """Open LoRA folders (read whole) and models in safetensors (read when asked for).

        Args:
            folders (`Mapping[str, path]`): name to folder or hub id, at least 2.
            shared (path, *optional*): an adapter that every expert contains as well.

        Raises:
            InputError: fewer than 2, names that cannot be names, a folder that is neither, or two adapters that name different bases.
        """
        names = check_objectives(folders)
        if len(names) < 2:
            raise InputError(f"a soup needs at least 2 experts, found {', '.join(names) or 'none'}")
        opened = [open_part(folder) for folder in folders.values()]
        own: list[tuple[int, ...]] = [(i,) for i in range(len(opened))]
        if shared is not None:
            own = [(*places, len(opened)) for places in own]
            opened.append(open_part(shared))
        bases = {str(part.path): part.base for part in opened if isinstance(part, LoraFolder) and part.base}
        if len({Path(base).name for base in bases.values()}) > 1:
            raise InputError(f"experts of different bases make no soup: {bases}")
        return cls(names, tuple(opened), tuple(own))

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Every tensor of the base that an expert changes, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in tensors_of(part)))

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Where in the model these tensors are, see `blocks.places_of`."""
        return places_of(self.tensors)

    @property
    def low_rank(self) -> bool:
        """Whether every soup is one LoRA."""
        return all(isinstance(part, LoraFolder) and part.low_rank for part in self.parts)

    def of_parts(self, soup: Soup, place: str) -> tuple[float, ...]:
        """`[P]`, how much of every part a soup has at a place: the sum over the experts that hold it."""
        if soup.experts != self.names:
            raise InputError(f"the soup is of {', '.join(soup.experts)}, these experts are {', '.join(self.names)}")
        row = soup.at_place(place)
        return tuple(sum(c for c, own in zip(row, self.holds, strict=True) if p in own) for p in range(len(self.parts)))

    def factors(self, soup: Soup) -> dict[str, tuple[Tensor, Tensor] | None]:
        """The soup's ΔW of every adapted module as exact factors, see `frontier.realize.lora_folder.mix`; `None` = no change.

        Raises:
            InputError: an expert does something that no factors describe.
        """
        folders = [part for part in self.parts if isinstance(part, LoraFolder)]
        if len(folders) < len(self.parts):
            raise InputError("whole models have no low-rank factors: export the merged model")
        modules = dict.fromkeys(name for folder in folders for name in folder.modules)
        mixed: dict[str, tuple[Tensor, Tensor] | None] = dict.fromkeys(modules)
        for place in self.places:
            here = [_only(folder, place) for folder in folders]
            mixed |= mix(here, self.of_parts(soup, place), same_base=False)
        return mixed


def tensors_of(part: Part) -> tuple[str, ...]:
    """The tensors that a part changes, or may change."""
    return part.tensors if isinstance(part, LoraFolder) else (*part.layouts, *part.tied)


def change_of(part: Part, name: str, base: Mapping[str, Tensor]) -> Tensor:
    """What a part changes in a tensor of the base, dense, in float32 or wider.

    Raises:
        InputError: the base has no such tensor, or one of another shape.
    """
    if isinstance(part, LoraFolder):
        return part.delta(name, base)
    stored, original = part.mapped(name), base[name]
    if stored.shape != original.shape:
        raise InputError(
            f"{part.name}: '{name}' is {list(stored.shape)}, the base's is {list(original.shape)}: it is no finetune of this base"
        )
    wide = torch.promote_types(torch.promote_types(stored.dtype, original.dtype), torch.float32)
    changed: Tensor = stored.to(device=original.device, dtype=wide) - original.to(wide)
    if not torch.isfinite(changed).all():
        raise InputError(f"{part.place(name)}: tensor '{name}' holds NaN or infinite numbers")
    return changed


def _only(folder: LoraFolder, place: str) -> LoraFolder:
    """The part of a LoRA that lies at one place; whatever no factors describe stays, for `mix` to refuse."""
    return replace(folder, modules={n: m for n, m in folder.modules.items() if place_of(f"{n}.weight") == place})


def open_part(folder: str | Path) -> Part:
    """A LoRA folder or a model in safetensors.

    Raises:
        InputError: it is neither, or broken.
    """
    if not isinstance(folder, str | Path):
        raise InputError(f"an expert must be a folder or a hub id, found {folder!r}")
    found = find_folder(str(folder))
    return LoraFolder.read(found) if (found / ADAPTER).is_file() else Checkpoint(found, str(folder))


def part_folders(parts: Sequence[Part]) -> list[Path]:
    """The folder of each part."""
    return [part.path if isinstance(part, LoraFolder) else part.folder for part in parts]
