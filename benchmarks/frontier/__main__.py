"""Pareto tools against the fastest public code, and their statistics against simulated truths.

python -m benchmarks.frontier --json out.json
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.frontier.context import Context
from benchmarks.parts import options, run_parts
from benchmarks.report import Row, main

PARTS = ("exact", "batched", "approximate", "coverage", "elicit", "explore")


def run(args: argparse.Namespace) -> list[Row]:
    """Exact, batched and approximate hypervolumes; coverage of intervals and certificates; questions; exploration."""
    with tempfile.TemporaryDirectory() as scratch:
        return run_parts("benchmarks.frontier", args.parts, Context(Path(scratch), args.data, args.keep, args.quick))


if __name__ == "__main__":
    main("frontier", run, options(PARTS))
