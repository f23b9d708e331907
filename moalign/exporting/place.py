"""Refuse a place for an export in which it would destroy what it is made of, or be taken for a part of a bundle."""

from collections.abc import Sequence
from pathlib import Path

from frontier.errors import InputError
from moalign.bundle import is_bundle


def check_outside_bundles(out: str | Path) -> None:
    """Refuse a bundle's folder and all in it.

    Args:
        out (`str` or `Path`): the folder to write.

    Raises:
        InputError: see above.
    """
    place = Path(out).resolve()
    if any(is_bundle(folder) for folder in (place, *place.parents)):
        raise InputError(f"{out} lies in a bundle: an export would be taken for a part of it; name another folder")


def check_place(out: str | Path, base: str | Path | None = None, folders: Sequence[str | Path] = ()) -> Path:
    """The folder to write, without links, before any work: see `check_outside_bundles` and `frontier.realize.replace_export.check_out`.

    Args:
        out (`str` or `Path`): as it was given.
        base (`str` or `Path`, *optional*): the base model's folder.
        folders (`Sequence[str | Path]`, *optional*): the adapters'.

    Raises:
        InputError: nothing can or may be written there.
    """
    # Not above: the command line asks for the other check before torch is loaded.
    from frontier.realize.replace_export import check_out

    check_outside_bundles(out)
    return check_out(out, base, folders)
