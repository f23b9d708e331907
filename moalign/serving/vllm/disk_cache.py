"""Keep adapters on the disk, at most so many, for several servers at once, without ever taking one away that a running server counts on."""

import contextlib
import json
import os
import shutil
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from frontier.atomic import replace_folder, write_text
from frontier.errors import InputError
from frontier.realize.merging.output import full_disk_is_told
from moalign.bundle import sha256

ENTRY = "entry.json"
WEIGHTS = "adapter_model.safetensors"


class CacheFull(RuntimeError):
    """Every adapter that the cache may keep is in use by a running server."""


class DiskCache:
    """Folders of adapters by key, the least recently asked for given up first.

    vLLM remembers the path of an adapter for as long as it runs, reads it again whenever it had to make room in memory, and stops if it is gone. So each
    process that was given adapters holds a lease: a file that lists them, locked for as long as the process lives. What stands in a living lease is never given
    up; a new adapter that does not fit beside those is refused. The bounds are exceeded by one adapter while it is written.

    Changes are made under one lock for all processes that share the folder (`flock`; on NFS the server must support it).

    Args:
        folder (`Path`): made where it is missing.
        max_adapters (`int`): the most to keep.
        max_bytes (`int`): the most bytes to keep.
    """

    def __init__(self, folder: Path, max_adapters: int, max_bytes: int) -> None:
        self._adapters = folder / "adapters"
        self._leases = folder / "leases"
        self._lock_file = folder / "lock"
        self._max_adapters = max_adapters
        self._max_bytes = max_bytes
        self._lease: int | None = None
        self._owner = 0
        self._thread_lock = threading.Lock()  # flock of one process would let all its threads in

    def get(self, key: str, write: Callable[[Path], dict[str, Any]]) -> tuple[Path, bool]:
        """The folder of an adapter, written first if it is not there (or damaged), and leased to this process.

        Args:
            key (`str`): names the content: two adapters that differ in a bit have two keys.
            write (`Callable`): fills a folder; what it returns is kept beside the adapter, for people.

        Returns:
            `tuple[Path, bool]`: the folder, and whether it was there.

        Raises:
            CacheFull: no room beside the adapters in use.
            InputError: the disk is full, or the folder cannot be written.
        """
        with self._locked():
            folder = self._adapters / key
            there = self._is_whole(folder)
            if not there:
                self._forget_unfinished()
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or half of one
                with full_disk_is_told(folder, 0, "the adapter"), replace_folder(folder) as beside:
                    about = write(beside)
                    write_text(
                        beside / ENTRY, json.dumps({**about, "sha256": sha256(beside / WEIGHTS)}, indent=2) + "\n"
                    )
                    self._make_room(key, _size(beside))
            os.utime(folder)
            self._hold(key)
            return folder, there

    def keys(self) -> list[str]:
        """What is kept, the least recently asked for first."""
        if not self._adapters.is_dir():
            return []
        folders = [folder for folder in self._adapters.iterdir() if not folder.name.startswith(".")]
        return [folder.name for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime_ns)]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl

        with self._thread_lock:
            try:
                self._adapters.mkdir(parents=True, exist_ok=True)
                self._leases.mkdir(exist_ok=True)
                lock = self._lock_file.open("a")
            except OSError as error:
                raise InputError(f"the cache {self._adapters.parent} cannot be written: {error.strerror}") from error
            with lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield

    def _is_whole(self, folder: Path) -> bool:
        """A machine that lost power may keep a folder's name and not its content."""
        try:
            expected = json.loads((folder / ENTRY).read_text(encoding="utf-8"))["sha256"]
            return bool(sha256(folder / WEIGHTS) == expected)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _forget_unfinished(self) -> None:
        # Whoever wrote these held the lock, which is ours now.
        for folder in self._adapters.glob(".*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _make_room(self, key: str, size: int) -> None:
        used = self._in_use()
        sizes = {name: _size(self._adapters / name) for name in self.keys() if name != key}
        for name in list(sizes):
            if len(sizes) < self._max_adapters and sum(sizes.values()) + size <= self._max_bytes:
                return
            if name not in used:
                shutil.rmtree(self._adapters / name)
                del sizes[name]
        if len(sizes) >= self._max_adapters or sum(sizes.values()) + size > self._max_bytes:
            raise CacheFull(
                f"the cache {self._adapters.parent} is full of adapters that running servers use ({len(sizes)} of at most {self._max_adapters}, "
                f"{sum(sizes.values()):,} bytes of at most {self._max_bytes:,}; one more has {size:,}): raise MOALIGN_VLLM_CACHE_ADAPTERS or "
                "MOALIGN_VLLM_CACHE_BYTES, or take a coarser MOALIGN_VLLM_STEP"
            )

    def _hold(self, key: str) -> None:
        import fcntl

        if self._lease is None or self._owner != os.getpid():
            # A child has its parent's file open, but what it asks for itself is not the parent's to hold.
            self._lease = os.open(self._leases / uuid.uuid4().hex, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            self._owner = os.getpid()
            weakref.finalize(self, os.close, self._lease)
            fcntl.flock(self._lease, fcntl.LOCK_EX)
        os.write(self._lease, f"{key}\n".encode())

    def _in_use(self) -> set[str]:
        """The keys of all living leases; those of ended processes are cleared away."""
        import fcntl

        used: set[str] = set()
        for path in self._leases.iterdir():
            with path.open(encoding="utf-8") as lease:
                try:
                    fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    used |= set(lease.read().split())
                else:
                    path.unlink()
        return used


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
