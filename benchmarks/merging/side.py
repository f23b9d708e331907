"""One engine in a process of its own: `PYTHON side.py mergekit|moalign` merges what each line of JSON on its input asks for.

It imports nothing of this project but the engine, so that an interpreter that has only mergekit can run it.
"""

import gc
import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

Merge = Callable[[dict[str, Any], str], object]


# Seconds between two looks at the anonymous memory, of which the system keeps no peak.
PERIOD = 0.005


def held(what: str) -> int | None:
    """Memory of this process in bytes as Linux counts it, by the name of its line; nothing elsewhere."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith(what + ":"))
    except (OSError, StopIteration):
        return None
    return int(found.split()[1]) * 1024


def peak() -> int:
    """The most memory that this process has held, bytes, pages of mapped files included; a parent's own peak is no part of it."""
    found = held("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if found is None else found


@contextmanager
def anonymous_peak(most: list[int]) -> Iterator[None]:
    """Put the most anonymous memory, which no file could give back, that was seen inside the block into a list; nothing where the system does not say."""
    done = threading.Event()

    def look() -> None:
        while True:
            found = held("RssAnon")
            if found is None:
                return
            most[:] = [max([*most, found])]
            if done.wait(PERIOD):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


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
        anonymous: list[int] = []
        with anonymous_peak(anonymous) if asked["memory"] else nullcontext():  # only where no time is taken
            started = time.perf_counter()
            merge(asked["recipe"], asked["out"])
            seconds = time.perf_counter() - started
        found = {"seconds": seconds, "peak": peak(), "anonymous": anonymous[0] if anonymous else None}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
