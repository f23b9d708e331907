"""Merge three models of 135M parameters, beside mergekit; truncate a mixture of adapters, beside PEFT; merge into a loaded model.

python -m benchmarks.merging --mergekit /path/to/an/environment/bin/python --json out.json

mergekit runs by an interpreter of its own; without one, what is compared with it is left out.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.merging.context import Context
from benchmarks.parts import options, run_parts
from benchmarks.report import Row, main

PARTS = ("methods", "command", "truncate", "loaded")


def run(args: argparse.Namespace) -> list[Row]:
    """Linear, TIES and DARE in process, the whole command, a truncated adapter, a merge in memory."""
    if args.scratch:
        args.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        context = Context(Path(scratch), args.mergekit, args.repeats, args.keep, args.quick)
        return run_parts("benchmarks.merging", args.parts, context)


if __name__ == "__main__":
    main(
        "merging",
        run,
        [
            ("--mergekit", {"type": Path, "help": "the Python interpreter of an environment with mergekit"}),
            ("--repeats", {"type": int, "default": 5, "help": "rounds in which both run; medians are reported"}),
            ("--scratch", {"type": Path, "help": "a folder with room for 5 GB, by default the system's temporary one"}),
            *options(PARTS),
        ],
    )
