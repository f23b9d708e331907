"""Run the parts of a benchmark one by one: a part that fails becomes a row, and a run that was cut off goes on after the last finished part."""

import importlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from benchmarks.report import Row
from frontier.atomic import write_text


class Limits(Protocol):
    """What running parts needs of the context that each part gets."""

    @property
    def keep(self) -> Path | None:
        """A folder for finished parts."""

    @property
    def quick(self) -> bool:
        """A small run that shows only that everything works."""


def options(parts: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """The flags `--parts` and `--keep` for `benchmarks.report.main`."""
    return [
        ("--parts", {"nargs": "+", "choices": parts, "default": list(parts), "help": "run these parts only"}),
        (
            "--keep",
            {
                "type": Path,
                "help": "a folder for finished parts and trainings: a run that was cut off goes on from there",
            },
        ),
    ]


def run_parts(package: str, parts: Sequence[str], context: Limits) -> list[Row]:
    """The rows of all parts.

    Args:
        package (`str`): such as `benchmarks.frontier`; part NAME is its module NAME with `rows(context) -> list[Row]`.
        parts (`Sequence[str]`): names.
        context: given to each part.
    """
    rows: list[Row] = []
    for part in parts:
        rows += _kept(part, context) or _measured(package, part, context)
    return rows


def _measured(package: str, part: str, context: Limits) -> list[Row]:
    started = perf_counter()
    try:
        rows: list[Row] = importlib.import_module(f"{package}.{part}").rows(context)
    except Exception as error:  # the other parts are still worth their time
        traceback.print_exc()
        return [Row(f"{part}.failed", f"{type(error).__name__}: {error}", None, holds=False)]
    rows.append(Row(f"{part}.seconds", f"wall time of the part '{part}'", perf_counter() - started, "s"))
    if context.keep is not None:
        write_text(_place(part, context.keep, context.quick), json.dumps([asdict(row) for row in rows]))
    return rows


def _kept(part: str, context: Limits) -> list[Row]:
    """The rows of a part that was measured before into the same folder; none where there are none."""
    if context.keep is None or not _place(part, context.keep, context.quick).is_file():
        return []
    return [Row(**row) for row in json.loads(_place(part, context.keep, context.quick).read_text(encoding="utf-8"))]


def _place(part: str, keep: Path, quick: bool) -> Path:
    return keep / f"{part}{'-quick' if quick else ''}.json"
