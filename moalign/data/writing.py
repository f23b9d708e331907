"""Write records so that a reader finds either the whole file or none of it."""

import gzip
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from frontier.errors import InputError


class AtomicText:
    """A text file that appears under its name only when all of it is written; `.gz` is compressed. Use it as a context manager.

    Args:
        path (`str` or `Path`): where the file will be.

    Raises:
        InputError: the folder does not exist or cannot be written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> TextIO:
        self._temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.tmp")
        try:
            if self.path.suffix == ".gz":
                self._file: TextIO = gzip.open(self._temporary, "xt", encoding="utf-8")
            else:
                self._file = open(self._temporary, "x", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def write_jsonl(records: Iterable[Mapping[str, Any]], path: str | Path) -> int:
    """Write records as JSON lines, all or nothing; a name ending in `.gz` is compressed.

    Args:
        records (`Iterable[Mapping]`): a list of dicts, a generator, or a `datasets.Dataset`.
        path (`str` or `Path`): the file; one that exists is replaced.

    Returns:
        `int`: how many records were written.

    Raises:
        InputError: the folder cannot be written to, or a record has a value that JSON lacks (NaN, infinity, an object).
    """
    count = 0
    with AtomicText(path) as file:
        for count, record in enumerate(records, start=1):
            try:
                file.write(json.dumps(dict(record), ensure_ascii=False, allow_nan=False) + "\n")
            except (TypeError, ValueError) as error:
                raise InputError(f"{path}: record {count} cannot be written as JSON: {error}") from error
    return count


class BadRowsFile:
    """The side file of a reading that goes on past bad rows: one JSON line `{"line", "reason", "row"}` for each; none, no file.

    Args:
        path (`str` or `Path`): where the file will be once the reading has ended well.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.count = 0
        self._atomic: AtomicText | None = None
        self._file: TextIO | None = None

    def __enter__(self) -> "BadRowsFile":
        return self

    def add(self, line: int, reason: str, row: Any) -> None:
        """Note a bad row: its line (or number, counting from 1), why it is bad, and what it holds (its text where it could not be read)."""
        if self._file is None:
            atomic = AtomicText(self.path)
            self._file = atomic.__enter__()
            self._atomic = atomic
        try:
            text = json.dumps(
                {"line": line, "reason": reason, "row": row}, ensure_ascii=False, allow_nan=False, default=str
            )
        except (TypeError, ValueError):  # NaN, or keys that are no strings: keep the row as it prints
            text = json.dumps({"line": line, "reason": reason, "row": str(row)}, ensure_ascii=False)
        self._file.write(text + "\n")
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._atomic is not None:
            self._atomic.__exit__(kind, error, trace)
