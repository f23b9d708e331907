"""Know that a checkpoint is what was written: sizes and SHA-256 sums of all its files, taken after each was read back."""

import json
import os
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from frontier.atomic import write_text
from moalign.bundle import sha256

SEAL = "checkpoint.json"


def seal(folder: Path) -> None:
    """Read every file of a finished checkpoint back, force it to the disk, and write `checkpoint.json`: `{"files": {name: {"size": bytes, "sha256": hex}}}`.

    Of a safetensors file the header and the length are checked, of JSON that it parses, of Trainer's own `.pt` and `.pth` archives the sums that they hold.

    Raises:
        OSError: a file cannot be read back; `filename` says which.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL):
        reason = _unreadable(path)
        if reason is not None:
            raise OSError(None, reason, str(path))
        files[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": sha256(path)}
        sync(path)
    write_text(folder / SEAL, json.dumps({"files": files}, indent=2) + "\n")
    sync(folder / SEAL)
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync(inner)


def broken(folder: Path) -> str | None:
    """What is wrong with a sealed checkpoint, naming the file; `None` if nothing is. One without a seal cannot be told from what its files hold by themselves."""
    if not (folder / SEAL).is_file():
        candidates = sorted(path for path in folder.rglob("*") if path.is_file())
        return next(
            (f"{path.relative_to(folder)}: {reason}" for path in candidates if (reason := _unreadable(path))), None
        )
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{SEAL} cannot be read"
    for name, (size, checksum) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, {size} were written"
        try:
            found = sha256(path)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if found != checksum:
            return f"{name} does not have the checksum that was written"
    return None


def sync(path: Path) -> None:
    """Force a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_archive(path: Path) -> bool:
    """Whether it begins as torch's archives do; what others write under these endings has no sums to check."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _unreadable(path: Path) -> str | None:
    """Why a file cannot hold what its name says; `None` if it can."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):  # refuses a header that does not fit the length
                return None
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        if path.suffix in (".pt", ".pth") and _is_archive(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            return f"{damaged} in it is damaged" if damaged else None
    except (SafetensorError, zipfile.BadZipFile, ValueError, OSError) as error:
        return f"cannot be read back: {error}"
    return None
