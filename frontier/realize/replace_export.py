"""Put a finished export in the place of an earlier one in one step, keeping what is not a part of it and never the place of its sources."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from frontier.errors import InputError
from frontier.realize.merging.output import termination_cleans_up
from frontier.realize.merging.reference import INDEX, WEIGHTS
from frontier.realize.merging.tokenizers import FILES as TOKENIZER

GRID = "grid.json"
EXPORT = "export.json"
TRUNCATION = "truncation.json"
SOUP = "soup.json"
# What an adapter, a whole model or a report of either is read from; transformers would put an old adapter on a new model without a word.
PARTS = frozenset(
    [
        *("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "README.md"),
        *("config.json", "generation_config.json", WEIGHTS, INDEX, TRUNCATION, EXPORT, GRID, SOUP),
        *TOKENIZER,
    ]
)
SHARDS = "model-*-of-*.safetensors"


def check_out(out: str | Path, base: str | Path | None = None, folders: Sequence[str | Path] = ()) -> Path:
    """The folder that an export takes the place of, before any work: it may hold nothing that the export is made of.

    Args:
        out (`str` or `Path`): the folder to write; of a link the folder that it points to.
        base (`str` or `Path`, *optional*): the base model's folder; a name that is no folder is no concern of it.
        folders (`Sequence[str | Path]`, *optional*): the adapters'.

    Returns:
        `Path`: it, absolute and without links.

    Raises:
        InputError: it is the base's folder or an adapter's, or holds an adapter that would go with an earlier grid; or it is a file, a mounted
            or the present folder, which cannot be renamed, or one beside which nothing can be written.
    """
    place = Path(out).resolve()
    if place.exists() and not place.is_dir():
        raise InputError(f"{out} is a file, expected a folder")
    sources = {} if base is None else {Path(base): "the base model"}
    for source, what in (sources | dict.fromkeys(map(Path, folders), "an adapter")).items():
        if not (place.exists() and source.exists()):
            continue
        if place.samefile(source):
            raise InputError(f"{out} is the folder of {what}: write to another")
        if source.resolve().is_relative_to(place) and source.resolve().relative_to(place).parts[0] in _members(place):
            raise InputError(f"{out} holds {what}, {source}, in a grid that would be replaced: write to another")
    for what, found in (("the present folder", place == Path.cwd()), ("a mounted folder", os.path.ismount(place))):
        if found:
            raise _not_renamed(out, what)
    beside = next(path for path in place.parents if path.exists())
    if not os.access(beside, os.W_OK):
        raise InputError(f"{out}: no right to write in {beside}, in which the result is prepared")
    return place


def _not_renamed(out: str | Path, what: str) -> InputError:
    return InputError(f"{out} is {what}, which cannot be replaced in one step: name a folder inside it")


@contextmanager
def replace_export(path: str | Path) -> Iterator[Path]:
    """Fill a temporary sibling folder; it takes the name `path` when the block ends well and vanishes when it raises or is terminated.

    Unlike `frontier.atomic.replace_folder` it never mixes old and new: the files of an earlier export (weights, configurations, tokenizer, reports, the members of a grid)
    go, everything else that lies there stays: it is moved once the new folder has its name. Killed at any moment, the folder is the old one or the new one, or, between two
    renames, for an instant neither; what was not moved yet is in a hidden folder beside it.

    Args:
        path (`str` or `Path`): the folder; of a link the one that it points to.

    Raises:
        InputError: see `check_out`.
    """
    with termination_cleans_up():
        place = check_out(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
        try:
            os.chmod(beside, 0o755)
            yield beside
            if place.exists():
                _swap(place, beside)
            else:
                os.replace(beside, place)
        finally:
            if beside.exists():
                shutil.rmtree(beside)


def _swap(place: Path, beside: Path) -> None:
    old = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    try:
        os.replace(place, old)
        os.replace(beside, place)
    except BaseException as error:
        if not place.exists():
            os.replace(old, place)
        elif not any(old.iterdir()):
            old.rmdir()
        if isinstance(error, OSError) and error.errno == errno.EBUSY:  # mounted in a way that shows only now
            raise _not_renamed(place, "in use by the system") from error
        raise
    members = _members(old)
    for entry in sorted(old.iterdir()):
        if not _is_part(entry, members):
            _move(entry, place / entry.name)
    shutil.rmtree(old)


def _is_part(entry: Path, members: set[str]) -> bool:
    if entry.is_dir() and not entry.is_symlink():
        return entry.name in members
    return entry.name in PARTS or entry.name in members or entry.match(SHARDS)


def _move(source: Path, target: Path) -> None:
    """Links, pipes and empty folders as they are; what the new export has under the same name stays the new one."""
    if not os.path.lexists(target):
        os.replace(source, target)
    elif all(path.is_dir() and not path.is_symlink() for path in (source, target)):
        for entry in sorted(source.iterdir()):
            _move(entry, target / entry.name)


def _members(folder: Path) -> set[str]:
    """The sub-folders that an earlier `grid.json` names and that are adapters."""
    try:
        names = [entry["folder"] for entry in json.loads((folder / GRID).read_text(encoding="utf-8"))["adapters"]]
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # no grid was there, or nothing that says what to remove
    return {name for name in names if isinstance(name, str) and (folder / name / "adapter_config.json").is_file()}
