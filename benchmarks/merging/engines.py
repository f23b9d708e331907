"""Start engines in processes of their own, and ask them in turn."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks.merging.context import Context

OURS, THEIRS = "moalign", "mergekit"
ROOT = Path(benchmarks.__file__).resolve().parent.parent


@dataclass(frozen=True)
class Merged:
    """What a merge took.

    Args:
        seconds (`float`): of it alone.
        peak (`int`): bytes that the process has held at most so far, pages of mapped files included.
        anonymous (`int`, *optional*): bytes of anonymous memory that it held at most, where that was asked for and the system says it.
    """

    seconds: float
    peak: int
    anonymous: int | None


class Engine:
    """A process that merges what it is asked to.

    Args:
        name (`str`): `moalign` or `mergekit`.
        python (`Path`): the interpreter.
    """

    def __init__(self, name: str, python: Path) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        command = [str(python), str(Path(__file__).with_name("side.py")), name]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(ROOT if name == OURS else None),
        )

    def merge(self, recipe: Mapping[str, Any], out: Path, memory: bool = False) -> Merged:
        """Merge into a folder that is emptied before.

        Args:
            recipe (`Mapping[str, Any]`): in mergekit's form.
            out (`Path`): the folder.
            memory (`bool`): look at the anonymous memory all the while, which costs some time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"recipe": recipe, "out": str(out), "memory": memory}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} ended: {self._errors.read()[-2000:]}")
        return Merged(**json.loads(answer))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def environment(path: Path | None) -> dict[str, str]:
    """Of both engines: each may use the threads that it wants, and nobody asks a hub."""
    made = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    return made | {"HF_HUB_OFFLINE": "1"} | ({"PYTHONPATH": str(path)} if path else {})


@contextmanager
def engines(context: Context) -> Iterator[dict[str, Engine]]:
    """Both, or ours alone where mergekit is not at hand."""
    made = {OURS: Engine(OURS, Path(sys.executable))}
    try:
        if context.mergekit:
            made[THEIRS] = Engine(THEIRS, context.mergekit)
        yield made
    finally:
        for engine in made.values():
            engine.close()


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, list[float]]:
    """The ratio of the medians, and the smallest and largest ratio of a round."""
    rounds = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return statistics.median(ours) / statistics.median(theirs), [rounds[0], rounds[-1]]
