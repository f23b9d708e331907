"""Keep embeddings on disk, so that no text goes through the same encoder twice: one SQLite file per encoder.

SQLite's journal makes every write whole or not at all, also when the process is killed, and lets several processes write at once. Each row carries
a checksum over encoder, text and vector: what does not verify is computed again. A file that is no database any more is set aside. So damage costs time and never gives a wrong number.
Nothing is ever deleted: remove the folder, or the file of one encoder, to free the space (4 bytes per dimension and text).
"""

import hashlib
import json
import os
import sqlite3
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np

from frontier.errors import InputError
from reward_heads.text import Text, as_messages

_TABLE = "CREATE TABLE IF NOT EXISTS embeddings (text BLOB PRIMARY KEY, cut INTEGER NOT NULL, vector BLOB NOT NULL, digest BLOB NOT NULL)"
_KEYS_PER_QUERY = 500
_WAIT_SECONDS = 60.0
_BROKEN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

T = TypeVar("T")


def text_hash(prompt: Text, completion: Text) -> bytes:
    """32 bytes that two (prompt, completion) share only if both are the same.

    Raises:
        InputError: a text is neither a string nor messages.
    """
    for part in (prompt, completion):
        if not isinstance(part, str):
            as_messages(part, role="user")
    text = json.dumps([prompt, completion], sort_keys=True, default=str)  # ASCII: lone surrogates are no obstacle
    return hashlib.sha256(text.encode("ascii")).digest()


class EmbeddingCache:
    """The embeddings of one encoder on disk; safe for several processes and against being killed.

    A connection lives for one call, so that threads and forked workers can share the object.

    Args:
        folder (`str` or path): created if it is missing; encoders share it, each with a file of its own.
        fingerprint (`str`): hex, of the encoder and its settings.
        width (`int`): of a vector.

    Raises:
        InputError: the folder can't be created.
    """

    def __init__(self, folder: str | os.PathLike[str], fingerprint: str, width: int) -> None:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cache folder {folder} can't be created: {error}") from error
        self.path = Path(folder) / f"{fingerprint[:32]}.sqlite"
        self.fingerprint = fingerprint
        self.width = width

    def read(self, keys: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Look up H of N texts.

        Args:
            keys (`Sequence[bytes]`): N distinct keys from [`text_hash`].

        Returns:
            positions `[H]` of those that are known, their vectors `[H, width]` float32, and whether each text was cut `[H]`.
        """
        rows: list[tuple[bytes, int, bytes, bytes]] = []
        if keys and self.path.is_file():
            rows = self._try(lambda connection: _select(connection, keys), "reading") or []
        at = {key: position for position, key in enumerate(keys)}
        good = [row for row in rows if row[0] in at and self._verifies(row)]
        if len(good) < len(rows):
            self._warn(f"{len(rows) - len(good)} of {len(rows)} embeddings are damaged and are computed again")
        vectors = np.frombuffer(b"".join(row[2] for row in good), dtype="<f4").reshape(len(good), self.width)
        positions = np.array([at[row[0]] for row in good], dtype=np.int64)
        return positions, vectors, np.array([bool(row[1]) for row in good], dtype=bool)

    def write(self, keys: Sequence[bytes], vectors: np.ndarray, cut: np.ndarray) -> None:
        """Add N texts in one transaction; those that are known are replaced.

        Args:
            keys (`Sequence[bytes]`): N keys.
            vectors (`np.ndarray`): `[N, width]`.
            cut (`np.ndarray`): `[N]`, whether the text was too long.
        """
        blobs = [vector.tobytes() for vector in np.ascontiguousarray(vectors, dtype="<f4")]
        rows = [
            (key, int(was_cut), blob, self._digest(key, int(was_cut), blob))
            for key, was_cut, blob in zip(keys, cut, blobs, strict=True)
        ]

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")  # never upgrade a read lock: two that do so wait for each other
            connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")

        self._try(insert, "writing")

    def __len__(self) -> int:
        count = self._try(lambda c: int(c.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0]), "counting")
        return count or 0

    def _verifies(self, row: tuple[bytes, int, bytes, bytes]) -> bool:
        key, cut, blob, digest = row
        right_types = isinstance(cut, int) and isinstance(blob, bytes)
        return right_types and len(blob) == 4 * self.width and digest == self._digest(key, cut, blob)

    def _digest(self, key: bytes, cut: int, blob: bytes) -> bytes:
        salt = f"{self.fingerprint} {cut} ".encode()
        return hashlib.blake2b(salt + key + blob, digest_size=8).digest()

    def _try(self, action: Callable[[sqlite3.Connection], T], what: str) -> T | None:
        """What `action` returns; `None` after a warning where the file can't be used now (locked, disk full, broken)."""
        try:
            with closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(_TABLE)
                return action(connection)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN:
                self._set_aside(error)
            else:
                self._warn(f"{what} failed ({error}); going on without it")
            return None

    def _set_aside(self, error: sqlite3.Error) -> None:
        self._warn(f"is damaged ({error}); it is kept as {self.path.name}.damaged, and embeddings are computed again")
        try:
            # The journal belongs to the damaged file: rolled back into its successor, it would damage that one, too.
            Path(f"{self.path}-journal").unlink(missing_ok=True)
            os.replace(self.path, f"{self.path}.damaged")
        except FileNotFoundError:
            return  # another process was faster
        except OSError as failure:
            self._warn(f"could not be set aside: {failure}")

    def _warn(self, what: str) -> None:
        warnings.warn(f"embedding cache {self.path}: {what}", stacklevel=4)


def _select(connection: sqlite3.Connection, keys: Sequence[bytes]) -> list[tuple[bytes, int, bytes, bytes]]:
    rows: list[tuple[bytes, int, bytes, bytes]] = []
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(part))
        rows += connection.execute(f"SELECT text, cut, vector, digest FROM embeddings WHERE text IN ({marks})", part)
    return rows
