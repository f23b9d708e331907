"""Reward heads on real data and on planted truths.

python -m benchmarks.reward_heads --data ../shared/data --json out.json
"""

import argparse
import importlib
import tempfile
import traceback
from pathlib import Path
from time import perf_counter

from benchmarks.report import Row, main
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.encoder import data_loaders, encoder_folder

PARTS = ("accuracy", "missing", "users", "votes", "decorrelation", "cyclic", "speed")


def run(args: argparse.Namespace) -> list[Row]:
    """K heads against single ones, probes and one pooled scalar; missing labels; users; decorrelation; cycles; speed."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(data_loaders(args.data), args.data.resolve(), encoder_folder(), Path(scratch), args.quick)
        for part in args.parts:
            started = perf_counter()
            try:
                rows += importlib.import_module(f"benchmarks.reward_heads.{part}").rows(context)
            except Exception as error:  # the other parts are still worth their time
                traceback.print_exc()
                rows.append(Row(f"{part}.failed", f"{type(error).__name__}: {error}", None, holds=False))
            rows.append(Row(f"{part}.seconds", f"wall time of the part '{part}'", perf_counter() - started, "s"))
    return rows


if __name__ == "__main__":
    parts = {"nargs": "+", "choices": PARTS, "default": list(PARTS), "help": "run these parts only"}
    main("reward_heads", run, [("--parts", parts)])
