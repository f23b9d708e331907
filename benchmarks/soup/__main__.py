"""Hypervolume of layer-wise soups, global soups and linear interpolation after equally many evaluations, in the oracle world and on a story teller.

python -m benchmarks.soup --data ../shared/data --json out.json
"""

import argparse

from benchmarks.parts import options, run_parts
from benchmarks.report import Row, main
from benchmarks.soup.context import Context

PARTS = ("oracle", "stories")


def run(args: argparse.Namespace) -> list[Row]:
    """Layer-wise soups, global soups and linear interpolation at the same number of evaluations."""
    return run_parts("benchmarks.soup", args.parts, Context(args.data, args.keep, args.quick))


if __name__ == "__main__":
    main("soup", run, options(PARTS))
