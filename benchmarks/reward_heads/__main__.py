"""Reward heads on real data and on planted truths.

python -m benchmarks.reward_heads --data ../shared/data --json out.json
"""

import argparse
import importlib
import json
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

from benchmarks.report import Row, main
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.encoder import data_loaders, encoder_folder
from frontier.atomic import write_text

PARTS = ("accuracy", "missing", "users", "votes", "decorrelation", "cyclic", "speed")


def run(args: argparse.Namespace) -> list[Row]:
    """K heads against single ones, probes and one pooled scalar; missing labels; users; decorrelation; cycles; speed."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(
            data_loaders(args.data), args.data.resolve(), encoder_folder(), Path(scratch), args.keep, args.quick
        )
        for part in args.parts:
            rows += _kept(part, context) or _measured(part, context)
    return rows


def _measured(part: str, context: Context) -> list[Row]:
    started = perf_counter()
    try:
        rows: list[Row] = importlib.import_module(f"benchmarks.reward_heads.{part}").rows(context)
    except Exception as error:  # the other parts are still worth their time
        traceback.print_exc()
        return [Row(f"{part}.failed", f"{type(error).__name__}: {error}", None, holds=False)]
    rows.append(Row(f"{part}.seconds", f"wall time of the part '{part}'", perf_counter() - started, "s"))
    if context.keep is not None:
        write_text(_place(part, context), json.dumps([asdict(row) for row in rows]))
    return rows


def _kept(part: str, context: Context) -> list[Row]:
    """The rows of a part that was measured before into the same folder; none where there are none."""
    if context.keep is None or not _place(part, context).is_file():
        return []
    return [Row(**row) for row in json.loads(_place(part, context).read_text(encoding="utf-8"))]


def _place(part: str, context: Context) -> Path:
    assert context.keep is not None
    return context.keep / f"{part}{'-quick' if context.quick else ''}.json"


if __name__ == "__main__":
    parts = {"nargs": "+", "choices": PARTS, "default": list(PARTS), "help": "run these parts only"}
    keep = {
        "type": Path,
        "help": "a folder for finished parts and trainings: a run that was cut off goes on from there",
    }
    main("reward_heads", run, [("--parts", parts), ("--keep", keep)])
