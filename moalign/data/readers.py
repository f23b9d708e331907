"""Read rows out of files, data sets and the hub, each with the place it came from, so that a complaint can name its line."""

import csv
import difflib
import gzip
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from frontier.errors import InputError
from moalign.data.records import unique_keys

FORMATS = (".jsonl", ".json", ".csv", ".parquet", ".txt")
TEXT_FIELDS = ("prompt", "completion", "completion_a", "completion_b", "chosen", "rejected")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# How Python prints a list of messages, which is not JSON: pandas writes such cells to CSV.
PRINTED_MESSAGES = re.compile(r"\[\s*\{\s*'(role|content)'")


@dataclass(frozen=True)
class RawRow:
    """A row as read, before validation.

    Args:
        where (`str`): the place, for messages: `pairs.jsonl:17`.
        line (`int`): the line it begins on, or its number counting from 1 where there are no lines.
        row (`Any`): the row; its text where it could not be read.
        error (`str`, *optional*): why it could not be read.
    """

    where: str
    line: int
    row: Any
    error: str | None = None


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Args:
        name (`str`): as the user gave it.
        rows (`Iterator[RawRow]`): the rows; read once.
        text_numbers (`bool`): the format may keep numbers as text and objects as JSON text.
        bad_rows_path (`Path`): where the bad rows go unless told otherwise.
        prompts_only (`bool`): the format holds nothing but prompts.
    """

    name: str
    rows: Iterator[RawRow]
    text_numbers: bool
    bad_rows_path: Path
    prompts_only: bool = False


def open_source(source: Any, split: str = "train") -> Source:
    """Open a file, a data set or the name of one on the hub.

    Args:
        source (`str`, `Path`, `datasets.Dataset`, `IterableDataset` or `DatasetDict`): a path to .jsonl, .json or .csv (also .gz), .parquet or .txt;
            a data set; or a hub name `org/name`, looked up only when there is no such path.
        split (`str`, *optional*, defaults to `"train"`): the split of a hub data set or a `DatasetDict`.

    Raises:
        InputError: there is no such thing, its format is not known, or it cannot be read.
    """
    if not isinstance(source, str | Path):
        if not isinstance(source, Mapping) and not hasattr(source, "with_format"):
            raise InputError(
                f"cannot read records from {type(source).__name__}; give a path, a hub name or a datasets.Dataset"
            )
        return _dataset_source(source, "dataset", split)
    path = Path(source)
    if not path.exists():
        return _hub_source(str(source), split)
    suffix, stem = _suffix(path)
    if path.is_dir() or suffix not in FORMATS or (suffix == ".parquet" and path.suffix == ".gz"):
        found = "a folder" if path.is_dir() else f"a file ending in '{''.join(path.suffixes[-2:])}'"
        raise InputError(f"{source}: found {found}, allowed: {', '.join(FORMATS)}; all but .parquet also with .gz")
    read: dict[str, Callable[[Path, str], Iterator[RawRow]]] = {
        ".jsonl": _json_lines,
        ".json": _json,
        ".csv": _csv,
        ".parquet": _parquet,
        ".txt": _lines,
    }
    return Source(
        name=str(source),
        rows=_naming_the_file(read[suffix](path, str(source)), str(source)),
        text_numbers=suffix in (".csv", ".parquet"),
        bad_rows_path=path.with_name(f"{stem}.bad.jsonl"),
        prompts_only=suffix == ".txt",
    )


def _suffix(path: Path) -> tuple[str, str]:
    """The format's ending, without `.gz`, and the name without both."""
    inner = path.with_suffix("") if path.suffix == ".gz" else path
    return inner.suffix.lower(), inner.stem


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _naming_the_file(rows: Iterator[RawRow], name: str) -> Iterator[RawRow]:
    """Pass rows on; what stops the reading of the whole file names the file."""
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: cannot be read: {error}") from error


def _loads(text: str) -> tuple[Any, str | None]:
    """The value and None, or None and why the text is not JSON."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys), None
    except json.JSONDecodeError as error:
        return None, f"not valid JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:
        return None, f"not valid JSON: {error}"


def _json_lines(path: Path, name: str) -> Iterator[RawRow]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            where = f"{name}:{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                yield RawRow(where, number, line.decode("utf-8", errors="replace"), f"not UTF-8 text: {error}")
                continue
            if text:
                row, problem = _loads(text)
                yield RawRow(where, number, row if problem is None else text, problem)


def _json(path: Path, name: str) -> Iterator[RawRow]:
    """A JSON array of rows, read item by item to know where each begins; JSON lines too, which many tools write under this ending."""
    with _open(path) as file:
        # A byte order mark and white space may come first.
        if file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
            yield from _json_lines(path, name)
            return
        file.seek(0)
        text = file.read().decode("utf-8-sig")
    blank = re.compile(r"\s*")

    def skip(position: int) -> int:
        return blank.match(text, position).end()  # type: ignore[union-attr]

    strict, plain = json.JSONDecoder(object_pairs_hook=unique_keys), json.JSONDecoder()
    at, number, line, counted = skip(text.index("[") + 1), 0, 1, 0
    closed = text[at : at + 1] == "]"
    while not closed:
        number += 1
        line, counted = line + text.count("\n", counted, at), at
        where, problem = f"{name}:{line} (item {number})", None
        try:
            row, end = strict.raw_decode(text, at)
        except (json.JSONDecodeError, RecursionError) as error:
            # Where a broken item ends cannot be known, so nothing after it can be read.
            spot = f"{name}:{error.lineno}" if isinstance(error, json.JSONDecodeError) else where
            raise InputError(f"{spot}: not valid JSON: {getattr(error, 'msg', error)} (item {number})") from error
        except ValueError as error:
            row, end = plain.raw_decode(text, at)
            problem = f"not valid JSON: {error}"
        yield RawRow(where, line, row, problem)
        at = skip(end)
        closed = text[at : at + 1] == "]"
        if not closed:
            if text[at : at + 1] != ",":
                line += text.count("\n", counted, at)
                raise InputError(f"{name}:{line}: not valid JSON: ',' or ']' expected after item {number}")
            at = skip(at + 1)
    if skip(at + 1) != len(text):
        raise InputError(f"{name}: not valid JSON: something follows the closing ']'")


def _csv(path: Path, name: str) -> Iterator[RawRow]:
    csv.field_size_limit(
        sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1
    )  # the default, 128 KiB, is less than a long prompt
    with _open(path) as file:
        text = (line.decode("utf-8-sig" if i == 0 else "utf-8") for i, line in enumerate(file))
        # strict: an unclosed quote is an error, where the default silently swallows the rest of the file into one cell.
        cells = csv.reader(text, strict=True)
        header: list[str] | None = None
        end = 0
        try:
            for found in cells:
                begin, end = end + 1, cells.line_num
                where = f"{name}:{begin}"
                if not any(found):
                    continue
                if header is None:
                    header = [column.strip() for column in found]
                    twice = next((c for c in header if header.count(c) > 1), None)
                    if twice is not None or "" in header:
                        raise InputError(
                            f"{where}: the header names {twice or ''!r} {'twice' if twice else '(a column without name)'}"
                        )
                elif len(found) != len(header):
                    raw = dict(zip(header, found, strict=False))
                    yield RawRow(
                        where, begin, raw, f"found {len(found)} cells, allowed: {len(header)}, as in the header"
                    )
                else:
                    yield _csv_row(where, begin, dict(zip(header, found, strict=True)))
        except csv.Error as error:
            raise InputError(f"{name}:{end + 1}: not valid CSV: {error}") from error


def _csv_row(where: str, line: int, cells: dict[str, str]) -> RawRow:
    row: dict[str, Any] = {column: cell if cell else None for column, cell in cells.items()}
    for column in TEXT_FIELDS:
        cell = row.get(column)
        if cell is None or not cell.lstrip().startswith("["):
            continue
        value, problem = _loads(cell)
        if (
            problem is None
            and isinstance(value, list)
            and value
            and all(isinstance(m, dict) and "role" in m for m in value)
        ):
            row[column] = value
        elif PRINTED_MESSAGES.match(cell.lstrip()):
            problem = (
                f"field '{column}': found a conversation as Python prints it, allowed: JSON text, with double quotes"
            )
            return RawRow(where, line, cells, problem)
    return RawRow(where, line, row)


def _parquet(path: Path, name: str) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield RawRow(f"{name}: row {number}", number, row)
    except pa.ArrowException as error:
        raise InputError(f"{name}: not a readable Parquet file (after row {number}): {error}") from error


def _lines(path: Path, name: str) -> Iterator[RawRow]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text:
                yield RawRow(f"{name}:{number}", number, {"prompt": text})


def _dataset_source(dataset: Any, name: str, split: str) -> Source:
    if isinstance(dataset, Mapping):
        if split not in dataset:
            raise InputError(f"{name}: no split '{split}'; found: {', '.join(map(str, dataset))}")
        dataset = dataset[split]
    # A format that the caller set (torch, numpy) would change the types of the values.
    plain = dataset.with_format(None)
    rows = (RawRow(f"{name}: row {number}", number, row) for number, row in enumerate(plain, start=1))
    # Arrow columns have one type: a column of labels that has both 'a' and 0.7 can only be text.
    return Source(name, rows, True, Path(f"{name.replace('/', '--')}.bad.jsonl"))


def _hub_source(name: str, split: str) -> Source:
    path = Path(name)
    suffix, _ = _suffix(path)
    if suffix in FORMATS or not HUB_NAME.fullmatch(name):
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        hint = f"did you mean '{path.with_name(near[0])}'? " if near else ""
        raise InputError(
            f"no such file: '{name}'. {hint}Allowed: a path to {', '.join(FORMATS)}, or a hub name like org/name"
        )
    import datasets

    try:
        return _dataset_source(datasets.load_dataset(name, split=split), name, split)
    except (OSError, ValueError, RuntimeError) as error:  # offline, not found, gated, no such split
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"'{name}' is no file here, and the hub data set of that name (split '{split}') could not be loaded, "
            f"because the hub could not be reached or has no such data set: {type(error).__name__}: {reason}"
        ) from error
