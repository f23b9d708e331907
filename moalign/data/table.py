"""Collect canonical records into a `datasets.Dataset` with one fixed set of columns, without holding them all as Python objects."""

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from moalign.data.records import BadRow, Record

if TYPE_CHECKING:
    from datasets import Dataset

# Where each format keeps its numbers per objective, and its texts.
VALUES = {"pairs": "labels", "ratings": "scores", "prompts": None}
TEXTS = {
    "pairs": ("prompt", "completion_a", "completion_b"),
    "ratings": ("prompt", "completion"),
    "prompts": ("prompt",),
}
CHUNK = 4096
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


class TableBuilder:
    """Takes records one by one and gives the dataset.

    Records are turned into Arrow arrays every few thousand, which hold them in about the space of their text. Objectives may turn up late: the
    rows before them get null.

    Args:
        kind (`str`): `"pairs"`, `"ratings"` or `"prompts"`.
        objectives (`tuple[str, ...]`, *optional*): the objectives in their order; in the order of first appearance when not given.
    """

    def __init__(self, kind: str, objectives: tuple[str, ...] | None = None) -> None:
        self.kind = kind
        self.objectives: dict[str, int] = dict.fromkeys(objectives or (), 0)
        self.count = 0
        self._seen: set[str] = set()
        self._style: type | None = None
        self._pending: list[Record] = []
        self._chunks: list[tuple[int, dict[str, pa.Array], dict[str, pa.Array]]] = []

    def add(self, record: Record) -> None:
        """Add one record.

        Raises:
            BadRow: it is conversational where the records before it are not, or the other way round. A column has one type.
        """
        style = type(record["prompt"])
        if self._style is not None and style is not self._style:
            found, before = ("a string", "lists of messages") if style is str else ("a list of messages", "strings")
            raise BadRow(
                f"field 'prompt': found {found}, where the rows before have {before}; allowed: one style per source"
            )
        self._style = style
        field = VALUES[self.kind]
        for name, value in record[field].items() if field else ():
            self.objectives[name] = self.objectives.get(name, 0) + (value is not None)
        self._seen |= record.keys() & {"margin", "document"}
        self._pending.append(record)
        self.count += 1
        if len(self._pending) >= CHUNK:
            self._flush()

    def dataset(self) -> "Dataset":
        """All records as a dataset; `labels` and `scores` are structs in the order of the objectives, null where unknown."""
        from datasets import Dataset

        self._flush()
        field = VALUES[self.kind]
        batches: list[pa.RecordBatch] = []
        for rows, columns, values in self._chunks:
            if field:
                nothing = pa.nulls(rows, pa.float64())
                arrays = [values.get(name, nothing) for name in self.objectives]
                columns = {**columns, field: pa.StructArray.from_arrays(arrays, names=list(self.objectives))}
                columns["user"] = columns.pop("user")  # keep it behind the numbers
                columns |= self._optional(rows, columns, values)
            batches.append(pa.RecordBatch.from_pydict(columns))
        # Named by its content, so that what TRL caches by this name is found again in another run. Left to itself `datasets` would hash
        # a pickled copy of the whole table.
        digest = hashlib.sha256()
        for batch in batches:
            digest.update(batch.serialize())
        return Dataset(pa.Table.from_batches(batches), fingerprint=digest.hexdigest()[:16])

    def _optional(self, rows: int, columns: dict[str, pa.Array], values: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """The columns that some record has: in a chunk where none has them, nulls."""
        found: dict[str, pa.Array] = {}
        if "margin" in self._seen:
            nothing = pa.nulls(rows, pa.float64())
            arrays = [values.get(f"margin:{name}", nothing) for name in self.objectives]
            found["margin"] = pa.StructArray.from_arrays(arrays, names=list(self.objectives))
        if "document" in self._seen:
            found["document"] = columns.pop("document", pa.nulls(rows, pa.string()))  # last, as in every chunk
        return found

    def _flush(self) -> None:
        if not self._pending:
            return
        rows, self._pending = self._pending, []
        text_type = pa.string() if self._style is str else MESSAGES
        columns = {name: pa.array([row[name] for row in rows], text_type) for name in TEXTS[self.kind]}
        values: dict[str, pa.Array] = {}
        if field := VALUES[self.kind]:
            columns["user"] = pa.array([row["user"] for row in rows], pa.string())
            for name in self.objectives:
                values[name] = pa.array([row[field].get(name) for row in rows], pa.float64())
                if "margin" in self._seen:
                    margins = [(row.get("margin") or {}).get(name) for row in rows]
                    values[f"margin:{name}"] = pa.array(margins, pa.float64())
            if "document" in self._seen:
                columns["document"] = pa.array([row.get("document") for row in rows], pa.string())
        self._chunks.append((len(rows), columns, values))


def value_matrix(dataset: "Dataset", field: str, objectives: tuple[str, ...]) -> Any:
    """The numbers per objective as a numpy float64 array `[N, K]`, NaN where unknown.

    Args:
        dataset (`datasets.Dataset`): canonical pairs or ratings.
        field (`str`): `"labels"` or `"scores"`.
        objectives (`tuple[str, ...]`): the columns of the result, in their order.
    """
    import numpy as np

    column = pa.chunked_array(dataset.with_format("arrow")[:][field]).combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # what an empty or single-chunk column combines to differs between releases
        column = column.chunk(0)
    return np.column_stack(
        [column.field(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in objectives]
    )
