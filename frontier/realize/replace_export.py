"""Put a finished export in the place of an earlier one in one step, keeping what is not a part of it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frontier.realize.merging.reference import INDEX, WEIGHTS
from frontier.realize.merging.tokenizers import FILES as TOKENIZER

GRID = "grid.json"
EXPORT = "export.json"
TRUNCATION = "truncation.json"
# What an adapter, a whole model or a report of either is read from; transformers would put an old adapter on a new model without a word.
PARTS = frozenset(
    [
        *("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin", "README.md"),
        *("config.json", "generation_config.json", WEIGHTS, INDEX, TRUNCATION, EXPORT, GRID),
        *TOKENIZER,
    ]
)
SHARDS = "model-*-of-*.safetensors"


@contextmanager
def replace_export(path: str | Path) -> Iterator[Path]:
    """Fill a temporary sibling folder; it takes the name `path` when the block ends well and vanishes when it raises.

    Unlike `frontier.atomic.replace_folder` it never mixes old and new: the files of an earlier export (weights, configurations, tokenizer, reports, the members of a grid)
    go, everything else that lies there stays. Killed at any moment, the folder is the old one or the new one, or, between two renames, for an instant neither.

    Args:
        path (`str` or `Path`): the folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    os.chmod(beside, 0o755)
    try:
        yield beside
        if path.exists():
            _keep(path, beside)
            _swap(path, beside)
        else:
            os.replace(beside, path)
    finally:
        if beside.exists():
            shutil.rmtree(beside)


def _keep(path: Path, beside: Path) -> None:
    """Link what is no part of an export into the new folder."""
    members = _members(path)
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        relative = file.relative_to(path)
        inside = relative.parts[0] in members
        if inside or (len(relative.parts) == 1 and (relative.name in PARTS or relative.match(SHARDS))):
            continue
        target = beside / relative
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target)


def _swap(path: Path, beside: Path) -> None:
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    os.replace(path, old)
    try:
        os.replace(beside, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def _members(folder: Path) -> set[str]:
    """The sub-folders that an earlier `grid.json` names and that are adapters."""
    try:
        names = [entry["folder"] for entry in json.loads((folder / GRID).read_text(encoding="utf-8"))["adapters"]]
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # no grid was there, or nothing that says what to remove
    return {name for name in names if isinstance(name, str) and (folder / name / "adapter_config.json").is_file()}
