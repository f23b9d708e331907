"""Never leave a half-written file: write beside the target, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a temporary sibling file; it takes the name `path` when the block ends well and vanishes when it raises."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)  # mkstemp's 0600 would hide the result from other users
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file so that a reader sees either the old content or the new one, never a part."""
    with replace_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def replace_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a temporary sibling folder; it takes the name `path` when the block ends well and vanishes when it raises.

    Files that an existing folder at `path` already holds under other names are kept; those of the same name are replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    os.chmod(beside, 0o755)
    try:
        yield beside
        if not path.exists():
            os.replace(beside, path)
            return
        for file in sorted(p for p in beside.rglob("*") if p.is_file()):
            target = path / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        if beside.exists():
            shutil.rmtree(beside)
