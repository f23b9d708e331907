"""One engine in a process of its own: `PYTHON side.py mergekit|moalign` merges what each line of JSON on its input asks for.

It imports nothing of this project but the engine, so that an interpreter that has only mergekit can run it.
"""

import gc
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

Merge = Callable[[dict[str, Any], str], object]


def peak() -> int:
    """The most memory that this process has held, bytes; a parent's own peak is no part of it."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("VmHWM:"))
        return int(found.split()[1]) * 1024
    except OSError:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def mergekit() -> Merge:
    """Give mergekit's own function, as its command calls it."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    def merge(recipe: dict[str, Any], out: str) -> None:
        run_merge(MergeConfiguration.model_validate(recipe), out, MergeOptions(quiet=True, copy_tokenizer=False))

    return merge


def moalign() -> Merge:
    """Give this project's."""
    from frontier.realize.merging import merge

    return lambda recipe, out: merge(recipe, out, progress=False)


def main() -> None:
    """Serve until the input ends."""
    # Libraries print; only answers may.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    merge = {"mergekit": mergekit, "moalign": moalign}[sys.argv[1]]()
    for line in sys.stdin:
        asked = json.loads(line)
        shutil.rmtree(asked["out"], ignore_errors=True)
        gc.collect()
        started = time.perf_counter()
        merge(asked["recipe"], asked["out"])
        answers.write(json.dumps({"seconds": time.perf_counter() - started, "peak": peak()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
