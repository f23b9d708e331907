"""Write down in a front what its soups are made of, and open the same experts again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontier.errors import InputError, check_fields
from frontier.front import ParetoFront
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.soup import Experts
from frontier.realize.soup.experts import Part, open_part, part_folders
from moalign.bundle import portable_location, sha256
from moalign.soup.policy import SoupPolicy

INFO = "soup"
"""Under this key of `ParetoFront.info` the record stands."""


def record_of(policy: SoupPolicy, out: Path) -> dict[str, Any]:
    """Base and experts of a front that is written to the folder `out`, as JSON values; folders are relative to it, so that all can move together.

    Args:
        policy (`SoupPolicy`): what was searched.
        out (`Path`): the front's folder.
    """
    parts, experts = policy.experts.parts, policy.experts
    folders = part_folders(parts)
    listed = [
        {"path": portable_location(str(folder), out), "sha256": _digest(folder) if isinstance(p, LoraFolder) else None}
        for p, folder in zip(parts, folders, strict=True)
    ]
    base = {"name_or_path": portable_location(str(policy.model.config.name_or_path), out), "digest": policy.digest}
    return {
        "base": base,
        "parts": listed,
        "experts": {n: list(h) for n, h in zip(experts.names, experts.holds, strict=True)},
    }


@dataclass(frozen=True)
class OpenedSoups:
    """The experts of a searched front.

    Args:
        experts (`Experts`): as they were searched.
        base (`str`): folder or hub id of the base.
    """

    experts: Experts
    base: str


def open_record(front: ParetoFront, folder: Path, base: str | None = None) -> OpenedSoups:
    """The experts behind a searched front.

    Args:
        front (`ParetoFront`): as read.
        folder (`Path`): where its file lies.
        base (`str`, *optional*): where the base lies now, if it moved.

    Raises:
        InputError: the front is of no search over soups, or an adapter is missing or is no longer what was measured.
    """
    record = front.info.get(INFO)
    if not isinstance(record, Mapping):
        raise InputError(
            f"{folder}: this front was not found by `moalign soup search`: it does not say what its soups are made of"
        )
    check_fields({k: v for k, v in record.items() if k != "bundle"}, ("base", "parts", "experts"))
    opened: list[Part] = []
    for part in record["parts"]:
        place = _located(part["path"], folder)
        opened.append(open_part(place))
        if part["sha256"] is not None and _digest(part_folders(opened[-1:])[0]) != part["sha256"]:
            raise InputError(f"{place}: the adapter was changed after its soups were measured")
    holds = tuple(tuple(places) for places in record["experts"].values())
    experts = Experts(tuple(record["experts"]), tuple(opened), holds)
    return OpenedSoups(experts, base or str(_located(record["base"]["name_or_path"], folder)))


def _located(name: str, folder: Path) -> Path | str:
    """A folder that exists, also relative to the front's, else the hub id."""
    beside = (folder / name).resolve()
    return beside if beside.is_dir() else name


def _digest(folder: Path) -> str:
    return sha256(folder / "adapter_model.safetensors")
