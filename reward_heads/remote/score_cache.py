"""Remember what a remote reward answered, in memory or in a file that survives the process."""

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from frontier.errors import InputError

SCHEMA_VERSION = 1
MEMORY = ":memory:"
_AT_ONCE = 500  # sqlite takes a limited number of parameters


class ScoreCache:
    """JSON values under keys that are hashes of what was asked; the texts themselves are not stored.

    Only answers are stored, never failures. Several threads and processes may use one file at a time. It grows without bound: delete it when it is too large.

    Args:
        path (`str` or path): an sqlite file, made where there is none; `":memory:"` for one that ends with the process.

    Raises:
        InputError: the file cannot be opened, or is something else; names it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None
        if self.path == MEMORY:
            self._memory = sqlite3.connect(MEMORY, check_same_thread=False)
            weakref.finalize(self, self._memory.close)
        else:
            try:
                Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        with self._open() as connection:
            # One process at a time: another must not find the table before its version.
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if tables and (version != SCHEMA_VERSION or tables != ["scores"]):
                raise InputError(f"{self.path}: a database of something else: name another file for the cache")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values of those keys that are known.

        Raises:
            InputError: the file is broken.
        """
        found: dict[str, Any] = {}
        with self._open() as connection:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                found.update(connection.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", some))
        try:
            return {key: json.loads(value) for key, value in found.items()}
        except (ValueError, TypeError) as error:
            raise InputError(f"{self.path}: an entry is broken ({error}): delete the file") from error

    def put(self, values: Mapping[str, Any]) -> None:
        """Remember values, all or none of them.

        Raises:
            InputError: the file is broken or cannot be written.
        """
        rows = [(key, json.dumps(value, allow_nan=False)) for key, value in values.items()]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: none lives long enough to be carried through a fork or into another thread."""
        try:
            if self._memory is not None:
                with self._lock, self._memory:
                    yield self._memory
                return
            with contextlib.closing(sqlite3.connect(self.path, timeout=30.0)) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise InputError(f"{self.path}: cannot be used as a cache of scores: {error}") from error


def cache_key(*parts: Any) -> str:
    """Hex sha256 over JSON values: equal only for equal parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).hexdigest()


def as_cache(cache: "ScoreCache | str | os.PathLike[str] | None") -> ScoreCache | None:
    """A cache from the path of its file."""
    return cache if cache is None or isinstance(cache, ScoreCache) else ScoreCache(cache)
