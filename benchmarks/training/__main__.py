"""Training steps per second and peak memory beside TRL in the same run, what each technique brings, and how far from the hardware's limit that is.

python -m benchmarks.training --json out.json
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.parts import options, run_parts
from benchmarks.report import Row, main
from benchmarks.training.context import THREADS, Context

PARTS = ("pairs", "online", "curve")


def run(args: argparse.Namespace) -> list[Row]:
    """Training on pairs and online over TRL's trainers; one steerable run over a model per preference."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as scratch:
        pictures = args.json.parent if args.json else None
        context = Context(Path(scratch), args.keep, args.quick, args.data, pictures)
        return run_parts("benchmarks.training", args.parts, context)


if __name__ == "__main__":
    main("training", run, options(PARTS))
