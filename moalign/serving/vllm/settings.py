"""Read from the environment what the vLLM plugin serves: bundles by name, the step of the lattice, the bounds of the cache."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frontier.errors import InputError
from moalign.bundle import is_bundle

BUNDLES = "MOALIGN_BUNDLES"
CACHE = "MOALIGN_VLLM_CACHE"
CACHE_ADAPTERS = "MOALIGN_VLLM_CACHE_ADAPTERS"
CACHE_BYTES = "MOALIGN_VLLM_CACHE_BYTES"
STEP = "MOALIGN_VLLM_STEP"

# Names stand in requests and logs; no sign that a path, a list or a weight is made of.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Settings:
    """What the plugin was told.

    Args:
        named (`Mapping[str, Path]`): bundles by the name that requests call them by.
        root (`Path`, *optional*): a folder whose sub-folders are bundles, each named like its folder; looked through at every request that needs it.
        cache (`Path`): where adapters are kept; several servers may share it.
        partitions (`int`): weights are multiples of 1/partitions.
        max_adapters (`int`): the most that the cache keeps.
        max_bytes (`int`): the most bytes that it keeps.
    """

    named: Mapping[str, Path] = field(default_factory=dict)
    root: Path | None = None
    cache: Path = Path("moalign-vllm")
    partitions: int = 20
    max_adapters: int = 256
    max_bytes: int = 50 * 10**9

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings | None":
        """The settings that environment variables give; `None` where `MOALIGN_BUNDLES` is not set, so that the plugin does nothing.

        `MOALIGN_BUNDLES` is `name=folder,name=folder`, or one folder: a bundle, or a folder of bundles.

        Raises:
            InputError: a variable cannot be read, a named folder is no bundle, or a name has signs other than letters, digits, `.`, `_` and `-`.
        """
        text = environment.get(BUNDLES, "").strip()
        if not text:
            return None
        named, root = _bundles(text)
        home = environment.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        default = cls()
        return cls(
            named,
            root,
            Path(environment.get(CACHE) or os.path.join(home, "moalign", "vllm")).absolute(),
            _partitions(environment.get(STEP) or str(1 / default.partitions)),
            _count(CACHE_ADAPTERS, environment.get(CACHE_ADAPTERS) or str(default.max_adapters)),
            _count(CACHE_BYTES, environment.get(CACHE_BYTES) or str(default.max_bytes), _UNITS),
        )

    def bundles(self) -> dict[str, Path]:
        """All bundles there are now, by name. A request's text is only ever compared with these names, never joined to a path."""
        found = dict(self.named)
        if self.root is not None and self.root.is_dir():
            for folder in sorted(self.root.iterdir()):
                if _NAME.fullmatch(folder.name) and is_bundle(folder):
                    found.setdefault(folder.name, folder)
        return found


def _bundles(text: str) -> tuple[dict[str, Path], Path | None]:
    alone = Path(text).absolute()
    if alone.is_dir():
        return ({_checked(alone.name): alone}, None) if is_bundle(alone) else ({}, alone)
    if "=" not in text:
        raise InputError(f"{BUNDLES}={text}: no such folder; give a folder of bundles, or name=folder,name=folder")
    named: dict[str, Path] = {}
    for part in text.split(","):
        name, equals, folder = (piece.strip() for piece in part.partition("="))
        if not (name and equals and folder):
            raise InputError(f"{BUNDLES}: found {part!r}, expected name=folder")
        if _checked(name) in named:
            raise InputError(f"{BUNDLES} names '{name}' twice")
        named[name] = Path(folder).absolute()
        if not is_bundle(named[name]):
            raise InputError(f"{BUNDLES}: '{name}' is {folder}, which is no bundle: it has no steer.json")
    return named, None


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{BUNDLES}: a bundle cannot be called {name!r}: allowed are letters, digits, '.', '_' and '-'"
        )
    return name


def _partitions(text: str) -> int:
    try:
        step = float(text)
        partitions = round(1 / step)
    except (ValueError, ZeroDivisionError, OverflowError):
        step, partitions = 0.0, 0
    if not 1 <= partitions <= 1000 or abs(partitions * step - 1) > 1e-6:
        raise InputError(f"{STEP}={text}: expected a step that divides 1, from 0.001 to 1, such as 0.05")
    return partitions


def _count(name: str, text: str, units: Mapping[str, int] | None = None) -> int:
    found = re.fullmatch(r"\s*([0-9]{1,15})\s*([A-Za-z]*)\s*", text)
    scale = (units or {"": 1}).get(found[2].upper()) if found else None
    value = int(found[1]) * scale if found and scale else 0
    if value < 1:
        example = "such as 20GB" if units else "at least 1"
        raise InputError(f"{name}={text}: expected a whole number, {example}")
    return value
