"""Read pairs, ratings or prompts from any source into one canonical dataset; say where a bad row is, and never drop one silently."""

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from frontier.objectives import check_objectives
from moalign.data.readers import RawRow, Source, open_source
from moalign.data.records import FIELDS, BadRow, Record, pair_record, prompt_record, rating_record
from moalign.data.table import VALUES, TableBuilder, value_matrix
from moalign.data.writing import BadRowsFile

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

logger = logging.getLogger(__name__)

RECORD: dict[str, Callable[..., Record]] = {"pairs": pair_record, "ratings": rating_record, "prompts": prompt_record}
SKIP_HINT = "Bad rows can be skipped on request; they are then counted and written to a side file."


@dataclass(frozen=True)
class Records:
    """What was read.

    Args:
        kind (`str`): `"pairs"`, `"ratings"` or `"prompts"`.
        dataset (`datasets.Dataset`): pairs have `prompt`, `completion_a`, `completion_b`, `labels`, `user`; ratings `prompt`, `completion`, `scores`,
            `user`; prompts `prompt`. `labels` is a struct with the probability per objective that `completion_a` is better, `scores` one with a
            number per objective; null is missing.
        objectives (`tuple[str, ...]`): in the order of the structs; empty for prompts.
        source (`str`): where it was read from.
        skipped (`int`): how many bad rows were left out.
        bad_rows_path (`Path`, *optional*): the file that has them; `None` when there were none.
        ignored_columns (`tuple[str, ...]`): columns of the source that the format does not have.
    """

    kind: str
    dataset: "Dataset"
    objectives: tuple[str, ...]
    source: str
    skipped: int = 0
    bad_rows_path: Path | None = None
    ignored_columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.dataset)

    def matrix(self) -> "np.ndarray":
        """The labels or scores as a float64 array `[N, K]` in the order of the objectives, NaN where missing.

        Raises:
            InputError: these are prompts, which have neither.
        """
        field = VALUES[self.kind]
        if field is None:
            raise InputError(f"{self.source}: prompts have no labels or scores")
        return value_matrix(self.dataset, field, self.objectives)


def read_pairs(
    source: Any,
    objectives: Iterable[str] | None = None,
    skip_bad_rows: bool = False,
    bad_rows_path: str | Path | None = None,
    split: str = "train",
) -> Records:
    """Read pairs: two completions of a prompt and, per objective, which one is better. TRL preference rows are read as pairs too.

    Args:
        source (`str`, `Path` or `datasets.Dataset`): a path to .jsonl, .json, .csv (each also .gz) or .parquet, a data set, or a hub name.
        objectives (`Iterable[str]`, *optional*): the objectives and their order; a row that names another is bad. When not given, they are those of
            the rows in the order of first appearance. With exactly one, TRL preference rows need no `objective` column.
        skip_bad_rows (`bool`, *optional*, defaults to `False`): write bad rows to a side file, count them and go on, instead of stopping at the first.
        bad_rows_path (`str` or `Path`, *optional*): the side file; `NAME.bad.jsonl` beside the source file when not given, or in the working folder
            for data sets.
        split (`str`, *optional*, defaults to `"train"`): the split of a hub data set.

    Returns:
        `Records`: of kind `"pairs"`.

    Raises:
        InputError: the source cannot be read, has no row, or has a bad one (named by file, line and field).
    """
    return _read(open_source(source, split), "pairs", objectives, skip_bad_rows, bad_rows_path)


def read_ratings(
    source: Any,
    objectives: Iterable[str] | None = None,
    skip_bad_rows: bool = False,
    bad_rows_path: str | Path | None = None,
    split: str = "train",
) -> Records:
    """Read ratings: one completion of a prompt and a score per objective. Arguments and errors as for [`read_pairs`]."""
    return _read(open_source(source, split), "ratings", objectives, skip_bad_rows, bad_rows_path)


def read_prompts(
    source: Any,
    skip_bad_rows: bool = False,
    bad_rows_path: str | Path | None = None,
    split: str = "train",
) -> Records:
    """Read the prompts of any records, in their order and as often as they come; a .txt file has one prompt a line.

    Arguments and errors as for [`read_pairs`].
    """
    return _read(open_source(source, split), "prompts", None, skip_bad_rows, bad_rows_path)


def read_records(
    source: Any,
    objectives: Iterable[str] | None = None,
    skip_bad_rows: bool = False,
    bad_rows_path: str | Path | None = None,
    split: str = "train",
) -> Records:
    """Read pairs or ratings, whichever the first readable row is. Arguments and errors as for [`read_pairs`].

    Raises:
        InputError: also when the first row is neither.
    """
    opened = open_source(source, split)
    _refuse_prompts(opened, "pairs or ratings")
    head: list[RawRow] = []
    kind = None
    for raw in opened.rows:
        head.append(raw)
        if raw.error is None and isinstance(raw.row, Mapping):
            kind = _detect(raw)
            break
        if not skip_bad_rows:
            break
    opened = Source(**{**vars(opened), "rows": itertools.chain(head, opened.rows)})
    # Without a readable row the kind does not matter: reading fails with what is wrong.
    return _read(opened, kind or "pairs", objectives, skip_bad_rows, bad_rows_path)


def _refuse_prompts(source: Source, wanted: str) -> None:
    if source.prompts_only:
        raise InputError(f"{source.name}: a .txt file holds prompts only, not {wanted}")


def _detect(raw: RawRow) -> str:
    names = {str(key).split(".")[0] for key in raw.row}
    if names & {"completion_a", "completion_b", "chosen", "rejected", "labels"}:
        return "pairs"
    if names & {"completion", "scores"}:
        return "ratings"
    raise InputError(
        f"{raw.where}: neither pairs (prompt, completion_a, completion_b, labels) nor ratings (prompt, completion, scores); "
        f"found fields: {', '.join(map(str, raw.row))}"
    )


def _read(
    source: Source,
    kind: str,
    objectives: Iterable[str] | None,
    skip_bad_rows: bool,
    bad_rows_path: str | Path | None,
) -> Records:
    valid = None if objectives is None else check_objectives(objectives)
    if kind != "prompts":
        _refuse_prompts(source, kind)
    side = Path(bad_rows_path) if bad_rows_path is not None else source.bad_rows_path
    if skip_bad_rows and side.resolve() == Path(source.name).resolve():
        raise InputError(f"{side}: the bad rows would replace the file that they come from; give another bad_rows_path")
    table = TableBuilder(kind, valid)
    ignored: dict[str, None] = {}
    with BadRowsFile(side) if skip_bad_rows else nullcontext() as bad:
        for raw in source.rows:
            try:
                table.add(_record(raw, kind, valid, source.text_numbers))
            except BadRow as error:
                if bad is None:
                    raise InputError(f"{raw.where}: {error}. {SKIP_HINT}") from error
                bad.add(raw.line, str(error), raw.row)
                continue
            field = VALUES[kind]
            ignored.update(
                (key, None)
                for key in raw.row
                if key not in FIELDS[kind]
                and not (field and key.startswith((field + ".", "margin." if kind == "pairs" else field + ".")))
            )
        # Inside, so that a reading which fails leaves no side file behind.
        skipped = bad.count if bad is not None else 0
        if not table.count and not skipped:
            raise InputError(f"{source.name}: no rows")
    where = side if skipped else None
    if skipped:
        logger.warning("%s: %d bad rows skipped, written to %s", source.name, skipped, side)
    if not table.count:
        raise InputError(f"{source.name}: none of the {skipped} rows is valid; each with its reason is in {side}")
    if ignored and kind != "prompts":
        logger.warning("%s: columns that %s do not have are ignored: %s", source.name, kind, ", ".join(ignored))
    for name, known in table.objectives.items():
        if not known:
            logger.warning("%s: objective '%s' has no %s in any row", source.name, name, VALUES[kind])
    return Records(kind, table.dataset(), tuple(table.objectives), source.name, skipped, where, tuple(ignored))


def _record(raw: RawRow, kind: str, valid: tuple[str, ...] | None, text_numbers: bool) -> Record:
    if raw.error is not None:
        raise BadRow(raw.error)
    if not isinstance(raw.row, Mapping):
        raise BadRow(f"found {type(raw.row).__name__}, allowed: an object with the fields of {kind}")
    return RECORD[kind](raw.row, valid, text_numbers)
