"""Reward heads on real data and on planted truths.

python -m benchmarks.reward_heads --data ../shared/data --json out.json
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.parts import options, run_parts
from benchmarks.report import Row, main
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.encoder import data_loaders, encoder_folder

PARTS = ("accuracy", "missing", "users", "votes", "decorrelation", "cyclic", "speed")


def run(args: argparse.Namespace) -> list[Row]:
    """K heads against single ones, probes and one pooled scalar; missing labels; users; decorrelation; cycles; speed."""
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(
            data_loaders(args.data), args.data.resolve(), encoder_folder(), Path(scratch), args.keep, args.quick
        )
        return run_parts("benchmarks.reward_heads", args.parts, context)


if __name__ == "__main__":
    main("reward_heads", run, options(PARTS))
