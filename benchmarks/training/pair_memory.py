"""Peak memory of a few training steps, in a process of its own: `python -m benchmarks.training.pair_memory KIND FOLDER JSON` prints bytes."""

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.training.context import THREADS
from benchmarks.training.pair_runs import Setting, ours, quiet, train_seconds, trl

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def resident(name: str) -> int:
    """A value of /proc/self/status in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def measure(kind: str, folder: Path, setting: Setting, steps: int) -> int:
    """Bytes that training needs beyond what stands before its first step: of the GPU, or of the resident memory."""
    base, pairs = setting.save(folder / "base"), setting.pairs(setting.batch * steps)
    trainer: Any = (
        ours(base, folder / "ours", setting, pairs, steps)
        if kind == "ours"
        else trl(base, folder / "trl", setting, pairs, steps, precompute_ref_log_probs=True)
    )
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train_seconds(trainer)
        return torch.cuda.max_memory_allocated() - before
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what preparing needed would serve the steps without counting
    _RESET.write_text("5")  # the peak so far, of loading and of the reference's log-probabilities, is forgotten
    before = resident("VmRSS")
    train_seconds(trainer)
    return resident("VmHWM") - before


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    with quiet():
        found = measure(sys.argv[1], Path(sys.argv[2]), Setting(**json.loads(sys.argv[3])), int(sys.argv[4]))
    print(json.dumps({"bytes": found}))
