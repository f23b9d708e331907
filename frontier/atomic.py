"""Never leave a half-written file: write beside the target, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file so that a reader sees either the old content or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(beside, 0o644)  # mkstemp's 0600 would hide the result from other users
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


@contextmanager
def replace_folder(path: str | Path) -> Iterator[Path]:
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
