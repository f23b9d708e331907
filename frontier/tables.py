"""Read and write a front as a table: text for people, CSV files and data frames for everything else."""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frontier.atomic import write_text
from frontier.costs import as_names, hint_at_costs, maximised
from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront
from frontier.objectives import check_objectives

if TYPE_CHECKING:
    import pandas as pd

WEIGHT, ERROR = "weight.", ".se"
# What `to_frame` writes beside the objectives; `non_dominated` follows from the rewards and is not read.
OTHERS = ("kl", "n_prompts", "non_dominated", "source", "sample")


def text_table(front: ParetoFront) -> str:
    """See `ParetoFront.table`."""
    names = front.objectives
    header = ["", "#", *(f"w({o})" for o in names), *names, "KL", "prompts", "source"]
    marks = ["*" if keep else "" for keep in front.non_dominated_mask()]
    rows = [[m, str(i), *_cells(p, names)] for i, (m, p) in enumerate(zip(marks, front.points, strict=True))]
    if front.reference_policy is not None:
        rows.append(["", "ref", *_cells(front.reference_policy, names)])
    return aligned([header, *rows])


def aligned(rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """Rows of texts as columns; a column that is empty below its heading is left out.

    Args:
        rows (`Sequence[Sequence[str]]`): the heading first.
        left (`int`): so many columns are aligned to the left, the others to the right.
    """
    used = [j for j in range(len(rows[0])) if any(row[j] for row in rows[1:])]
    widths = {j: max(len(row[j]) for row in rows) for j in used}
    return "\n".join(
        "  ".join(row[j].ljust(widths[j]) if j < left else row[j].rjust(widths[j]) for j in used).rstrip()
        for row in rows
    )


def columns_of(front: ParetoFront) -> dict[str, Any]:
    """See `ParetoFront.to_frame`."""
    for name in front.objectives:
        if name in OTHERS or name.startswith(WEIGHT) or name.endswith(ERROR):
            raise InputError(
                f"objective '{name}' has the name of another column of the table ({', '.join(OTHERS)}, {WEIGHT}NAME, NAME{ERROR}): rename it"
            )
    columns: dict[str, Any] = {}
    for prefix, suffix, array in (
        (WEIGHT, "", front.weights),
        ("", "", front.rewards),
        ("", ERROR, front.standard_errors),
    ):
        columns |= {f"{prefix}{name}{suffix}": array[:, k] for k, name in enumerate(front.objectives)}
    columns["kl"] = [math.nan if p.kl is None else p.kl for p in front.points]
    columns["n_prompts"] = [p.n_prompts for p in front.points]
    columns["non_dominated"] = front.non_dominated_mask()
    columns["source"] = [p.source for p in front.points]
    return columns


def write_csv(front: ParetoFront, path: str | os.PathLike[str]) -> Path:
    """See `ParetoFront.to_csv`."""
    columns = columns_of(front)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_text(v) for v in row] for row in zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())
    return Path(path)


def front_of_csv(path: str | os.PathLike[str], objectives: Sequence[str] | None = None, **options: Any) -> ParetoFront:
    """A front from a CSV file with a heading.

    Args:
        path (`str` or `PathLike`): UTF-8; the columns are those of `front_of_frame`. An empty cell is a value that is not known.
        objectives (`Sequence[str]`, *optional*): see `front_of_frame`.
        **options: see `front_of_frame`.

    Raises:
        InputError: the file can't be read, has no heading or a row of another length, or see `front_of_frame`; the message names file, line and column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise InputError(f"{path}: the file is empty, expected a heading and one row per point")
    columns = [name.strip() for name in rows[0][1]]
    records = []
    for number, row in rows[1:]:
        if len(row) != len(columns):
            raise InputError(f"{path}:{number}: {len(row)} values for {len(columns)} columns ({', '.join(columns)})")
        records.append((f"{path}:{number}", dict(zip(columns, row, strict=True))))
    return _front(str(path), columns, records, objectives, **options)


def front_of_frame(frame: "pd.DataFrame", objectives: Sequence[str] | None = None, **options: Any) -> ParetoFront:
    """A front from a data frame, one row a point.

    Args:
        frame (`pd.DataFrame`): a column of mean rewards per objective and, where they are known, `weight.NAME`, `NAME.se`, `kl`, `n_prompts`, `source` and `sample`. NaN = not known.
        objectives (`Sequence[str]`, *optional*): which columns are the objectives, in the front's order; further columns then go into each point's `extra`. Default: every column
            that is none of those above.
        **options: `minimize` (`Iterable[str]`, or one name): objectives that are costs; they enter as their negative, which `info["minimized"]` records. `n_prompts` (`int`, 1 by default): where there is
            no such column. `source` (`str`): where there is no such column. `normalizer` and `info`: of the front.

    Raises:
        InputError: an objective has no column, a column is doubled or not numeric, a reward is not known, a cost is negative already, or weights are known in part only; the message names row and column.
    """
    columns = [str(name) for name in frame.columns]
    records = [
        (f"row {i} (index {index!r})", dict(zip(columns, row, strict=True)))
        for i, (index, row) in enumerate(
            zip(frame.index.tolist(), frame.itertuples(index=False, name=None), strict=True)
        )
    ]
    return _front("the data frame", columns, records, objectives, **options)


def _front(
    what: str,
    columns: list[str],
    records: Sequence[tuple[str, Mapping[str, Any]]],
    objectives: Sequence[str] | None,
    *,
    minimize: str | Iterable[str] = (),
    n_prompts: int = 1,
    source: str = "",
    normalizer: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
) -> ParetoFront:
    minimize = as_names(minimize)
    names = _objectives(what, columns, objectives)
    if not records:
        raise InputError(f"{what}: no points below the heading {', '.join(columns)}")
    known = {*OTHERS, *names, *(WEIGHT + n for n in names), *(n + ERROR for n in names)}
    _refuse_strangers(what, columns, names)
    points = []
    for where, record in records:
        rewards = np.array([_number(where, name, record, guessed=objectives is None) for name in names])
        try:
            points.append(
                FrontPoint(
                    tuple(maximised(rewards, names, minimize).tolist()),
                    tuple(_optional(where, name + ERROR, record) for name in names),
                    _count(where, record, n_prompts),
                    _preference(where, record, names),
                    _known(_optional(where, "kl", record)) if "kl" not in names else None,
                    source if _missing(record.get("source")) or "source" in names else str(record["source"]),
                    _extra(record, known, names),
                )
            )
        except InputError as error:
            raise error if str(error).startswith(where) else InputError(f"{where}: {error}") from error
    _refuse_negated(what, points, names, minimize)
    recorded = dict(info or {}) | ({"minimized": list(minimize)} if minimize else {})
    front = ParetoFront(names, tuple(points), normalizer=normalizer, info=recorded)
    hint_at_costs(front, minimize)
    return front


def _refuse_negated(what: str, points: Sequence[FrontPoint], names: tuple[str, ...], minimize: tuple[str, ...]) -> None:
    """A cost below 0 everywhere was negated before, by `to_csv` for one; negated again, more of it would be better."""
    for k, name in enumerate(names):
        values = [point.rewards[k] for point in points]
        if name in minimize and min(values) >= 0 and max(values) > 0:
            raise InputError(
                f"{what}: no value of column '{name}' is above 0, so it is negative already, as `to_csv` writes costs: leave it out of `minimize`, "
                f"and pass info={{'minimized': ['{name}']}}"
            )


def _objectives(what: str, columns: list[str], objectives: Sequence[str] | None) -> tuple[str, ...]:
    for position, name in enumerate(columns):
        if name in columns[:position]:
            raise InputError(f"{what}: column '{name}' is there twice")
    if objectives is not None:
        names = check_objectives(objectives)
        for name in names:
            if name not in columns:
                raise unknown_name(f"column of {what}", name, columns)
        return names
    found = [c for c in columns if c not in OTHERS and not c.startswith(WEIGHT) and not c.endswith(ERROR)]
    if not found:
        raise InputError(
            f"{what}: no column of rewards among {', '.join(columns) or 'none'}; name them with `objectives`"
        )
    try:
        return check_objectives(found)
    except InputError as error:
        raise InputError(
            f"{what}: {error}; name the columns that are objectives with `objectives` if this is none"
        ) from error


def _refuse_strangers(what: str, columns: Iterable[str], names: tuple[str, ...]) -> None:
    """A weight or an error of no objective is a slip of the pen."""
    for column in columns:
        for owner in (
            column.removeprefix(WEIGHT) if column.startswith(WEIGHT) else None,
            column.removesuffix(ERROR) if column.endswith(ERROR) else None,
        ):
            if owner is not None and column not in names and owner not in names:
                raise InputError(f"{what}: column '{column}': {unknown_name('objective', owner, names)}")


def _number(where: str, column: str, record: Mapping[str, Any], *, guessed: bool = False) -> float:
    value = record[column]
    if _missing(value):
        raise InputError(f"{where}: column '{column}' is empty; every point needs a mean reward of every objective")
    try:
        if isinstance(value, bool | np.bool_):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        hint = "; name the columns that are objectives with `objectives` if this is none" if guessed else ""
        raise InputError(f"{where}: column '{column}' must hold numbers, found {value!r}{hint}") from None
    if not math.isfinite(number):
        raise InputError(f"{where}: column '{column}' must be finite, found {value!r}")
    return number


def _optional(where: str, column: str, record: Mapping[str, Any]) -> float:
    return math.nan if _missing(record.get(column)) else _number(where, column, record)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _count(where: str, record: Mapping[str, Any], default: int) -> int:
    value = _optional(where, "n_prompts", record)
    if math.isnan(value):
        return default
    if not value.is_integer():
        raise InputError(f"{where}: column 'n_prompts' must hold whole numbers, found {record['n_prompts']!r}")
    return int(value)


def _preference(where: str, record: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    values = {name: _optional(where, WEIGHT + name, record) for name in names if WEIGHT + name in record}
    unknown = [name for name, value in values.items() if math.isnan(value)]
    if len(unknown) == len(values):
        return None
    if unknown:
        raise InputError(f"{where}: column '{WEIGHT}{unknown[0]}' is empty while other weights of the row are given")
    return {"weights": values}


def _extra(record: Mapping[str, Any], known: set[str], names: tuple[str, ...]) -> dict[str, Any]:
    """What a point says, and the columns that mean nothing here, as JSON values."""
    kept = {c: v for c, v in record.items() if (c not in known or c == "sample") and c not in names}
    return {c: v.item() if isinstance(v, np.generic) else v for c, v in kept.items() if not _missing(v)}


def _missing(value: Any) -> bool:
    """Whether a cell is empty: nothing, blanks, NaN or what pandas has for it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str):
        return value.strip().lower() in ("", "nan")
    return isinstance(value, float | np.floating) and math.isnan(value)


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else repr(float(value))
    return str(value)


def _cells(point: FrontPoint, objectives: tuple[str, ...]) -> list[str]:
    weights = point.weights(objectives)
    return [
        *([f"{w:.2f}" for w in weights] if weights else [""] * len(objectives)),
        *(f"{r:.3f} ± {s:.3f}" for r, s in zip(point.rewards, point.standard_error, strict=True)),
        "" if point.kl is None else f"{point.kl:.3f}",
        str(point.n_prompts),
        point.source,
    ]
