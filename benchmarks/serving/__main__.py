"""Tokens per second, waiting times and memory of the server under load, beside the base model and other ways to serve a weight vector per request.

python -m benchmarks.serving --json out.json
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.parts import options, run_parts
from benchmarks.report import Row, main
from benchmarks.serving.context import Context
from benchmarks.serving.models import quiet

PARTS = ("throughput", "latency", "peers", "memory")


def run(args: argparse.Namespace) -> list[Row]:
    """Mixed over same weights, over the base model and over other servers; time to the first token and per token; growth of memory."""
    quiet()
    with tempfile.TemporaryDirectory() as scratch:
        return run_parts("benchmarks.serving", args.parts, Context(Path(scratch), args.keep, args.quick))


if __name__ == "__main__":
    main("serving", run, options(PARTS))
