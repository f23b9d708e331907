"""What steering costs beside the base model, beside stock PEFT and beside merging for every request; and that it is exact.

python -m benchmarks.steering --json out.json
"""

import argparse
import os
import warnings

import torch

from benchmarks.report import Row, main
from benchmarks.steering import cpu, exactness, gpu


def run(args: argparse.Namespace) -> list[Row]:
    """Ratios of a steered batch to the base model's on CPU and, if there is one, GPU; peers in the same run; errors of ΔW."""
    warnings.filterwarnings("ignore", module="peft")
    if "OMP_NUM_THREADS" not in os.environ:  # as a server on this machine would run
        torch.set_num_threads(os.cpu_count() or 1)
    return [*exactness.rows(args.quick), *cpu.rows(args.quick), *gpu.rows(args.quick)]


if __name__ == "__main__":
    main("steering", run)
