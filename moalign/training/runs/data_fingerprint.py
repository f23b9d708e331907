"""Know a data set again by what it holds, whatever file, cache or type it comes in, at a few seconds per million rows."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Rows that are put into the sum at once, column by column; another number makes other sums.
_ROWS = 10_000


def data_fingerprint(data: Any) -> dict[str, Any]:
    """Rows and SHA-256 of what a data set holds, whatever file or cache it came from: equal content has an equal sum.

    Texts go into the sum as they lie in memory, without becoming Python objects. A field that is missing counts as one that is null.

    Args:
        data (`datasets.Dataset`, `PairTable`, `list` or a `dict` of them): of any other kind, such as a stream, only the class is told.
    """
    if isinstance(data, dict):
        return {name: data_fingerprint(part) for name, part in data.items()}
    parts = _parts(data)
    if parts is None:
        return {"kind": type(data).__name__}
    digest, count = _Digest(), 0
    for part in parts:
        count += len(part)
        if isinstance(part, list):
            digest.rows(part)
        else:
            digest.array(part)
    return {"rows": count, "sha256": digest.sha.hexdigest()}


def _parts(data: Any) -> "Iterator[list[Any] | pa.Array] | None":
    """`_ROWS` rows at a time."""
    if isinstance(data, list):
        return (data[i : i + _ROWS] for i in range(0, len(data), _ROWS))
    if hasattr(data, "completions") and hasattr(data, "labels"):  # a PairTable
        parts = (slice(i, i + _ROWS) for i in range(0, len(data.prompts), _ROWS))
        zipped = (zip(data.prompts[s], data.completions[s], data.labels[s].tolist(), strict=True) for s in parts)
        return ([{"prompt": p, "completions": c, "labels": own} for p, c, own in rows] for rows in zipped)
    if hasattr(data, "with_format") and hasattr(data, "__len__"):
        rows = data.with_format("arrow")
        tables = (rows[i : i + _ROWS].combine_chunks() for i in range(0, len(rows), _ROWS))
        return (table.to_struct_array().chunk(0) for table in tables)
    return None


class _Digest:
    """SHA-256 of Arrow arrays by their values: chunks, offsets, the width of integers and what lies under a null do not count."""

    def __init__(self) -> None:
        self.sha = hashlib.sha256()

    def rows(self, rows: list[Any]) -> None:
        """Of Python objects; the slow way where Arrow has no one type for them, such as prompts of which some are texts and others conversations."""
        try:
            array = pa.array(rows)
        except (pa.ArrowException, ValueError, OverflowError):
            self._piece("rows", json.dumps(rows, sort_keys=True, default=str).encode())
        else:
            self.array(array)

    def array(self, array: pa.Array) -> None:
        """Which values are there, and then these by the parts that they have."""
        kind = array.type
        self._piece("known", np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).data)
        array = array.drop_null()
        if not len(array):
            return
        if pa.types.is_struct(kind):
            fields = dict(zip((kind.field(i).name for i in range(kind.num_fields)), array.flatten(), strict=True))
            for name, values in sorted(fields.items()):
                if values.null_count < len(values):
                    self._piece("field", name.encode())
                    self.array(values)
            self._piece("end")
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._piece("lengths", pc.list_value_length(array).cast(pa.int64()).to_numpy().data)
            self.array(array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            self._texts(array.cast(pa.large_string()))
        else:
            self._piece("values", json.dumps(array.to_pylist(), default=str).encode())

    def _texts(self, array: pa.Array) -> None:
        _, places, content = array.buffers()
        offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
        self._piece("lengths", np.diff(offsets).data)
        # No buffer at all where every text is empty.
        self._piece("text", memoryview(content)[offsets[0] : offsets[-1]] if content is not None else b"")

    def _piece(self, kind: str, content: bytes | memoryview = b"") -> None:
        view = memoryview(content).cast("B") if len(content) else memoryview(b"")
        self.sha.update(f"{kind} {view.nbytes}\n".encode())
        self.sha.update(view)
