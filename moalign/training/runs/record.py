"""Record what a run was made with (seeds, versions, device, data, code), so that its figures can be traced and made again."""

import hashlib
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from frontier.atomic import write_text
from moalign.bundle import sha256
from moalign.training.runs.data_fingerprint import data_fingerprint
from moalign.training.runs.stopping import RunInterrupted, RunStopped, RunTerminated
from moalign.versions import versions

if TYPE_CHECKING:
    from transformers import Trainer

RECORD = "run.json"
# Files above this size count by their size and their two ends, so that a base model's weights do not delay the start by minutes.
_WHOLE = 64 << 20
_END = 1 << 20


@contextmanager
def recorded(trainer: "Trainer", resumed_from: str | bool | None) -> Iterator[None]:
    """Write an entry into `run.json` of the output folder when the block begins, and how it ended when it ends.

    A run that begins anew starts the file; one that is resumed adds an entry: `{"runs": [{...}, ...]}`. An entry that still says `running` was killed.
    """
    if not trainer.args.should_save:
        yield
        return
    path = Path(str(trainer.args.output_dir)) / RECORD
    before = read_runs(path) if resumed_from else []
    write_runs(path, [*before, _entry(trainer, resumed_from)])
    try:
        yield
        outcome = "finished"
    except RunStopped as error:
        outcome = f"stopped: {error}"
        raise
    except (RunTerminated, RunInterrupted) as error:
        outcome = "terminated" if isinstance(error, RunTerminated) else "interrupted"
        raise
    except BaseException as error:
        outcome = f"failed: {type(error).__name__}: {error}"
        raise
    finally:
        first = getattr(trainer, "_initial_global_step", 0)
        amend(path, outcome=outcome, ended=_now(), steps=[first, trainer.state.global_step])


def amend(path: Path, **facts: Any) -> None:
    """Put facts into the last entry of a `run.json`; a disk that has become full keeps the entry as it was."""
    runs = read_runs(path)
    if runs:
        runs[-1] |= facts
        try:
            write_runs(path, runs)
        except OSError:
            return  # the run's own error is on its way, and says more


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The entries of a `run.json`, oldest first; none if there is no such file, or, with a warning, if it is damaged: no run is to fail for its record."""
    if not path.is_file():
        return []
    try:
        return [dict(entry) for entry in json.loads(path.read_text(encoding="utf-8"))["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        logging.getLogger("moalign").warning(
            "%s cannot be read (%s): what it said of earlier runs is lost", path, error
        )
        return []


def write_runs(path: Path, runs: list[dict[str, Any]]) -> None:
    """Write a `run.json`."""
    write_text(path, json.dumps({"runs": runs}, indent=2, default=str) + "\n")


def _entry(trainer: "Trainer", resumed_from: str | bool | None) -> dict[str, Any]:
    args: Any = trainer.args
    given = {"train": getattr(trainer, "prompts", None) or trainer.train_dataset, "eval": trainer.eval_dataset}
    return {
        "started": _now(),
        "outcome": "running",
        "resumed_from": str(resumed_from) if resumed_from else None,
        "seed": args.seed,
        "data_seed": args.data_seed,
        "data": {name: data_fingerprint(data) for name, data in given.items() if data is not None},
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(args.device),
        "processes": args.world_size,
        "threads": torch.get_num_threads(),
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "float32",
        "git": git_state(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def device_name(device: torch.device) -> str:
    """The accelerator's model, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def git_state() -> dict[str, Any] | None:
    """The commit of the working directory's repository and whether tracked files differ from it; `None` outside of one, or without git."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=False)

    try:
        commit = git("rev-parse", "HEAD")
        if commit.returncode != 0:
            return None
        return {"commit": commit.stdout.strip(), "changed": git("diff-index", "--quiet", "HEAD").returncode != 0}
    except (OSError, subprocess.TimeoutExpired):
        return None


def file_fingerprint(path: str | os.PathLike[str]) -> str | None:
    """SHA-256 of a file, or of a folder's names and files; `None` for what is neither, such as a name on a hub.

    Of files above 64 MiB only the size and the first and last MiB count.
    """
    place = Path(path)
    if place.is_file():
        return _file_sum(place)
    if not place.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(file for file in place.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(place).as_posix()} {_file_sum(file)}\n".encode())
    return digest.hexdigest()


def _file_sum(file: Path) -> str:
    size = file.stat().st_size
    if size <= _WHOLE:
        return sha256(file)
    with file.open("rb") as opened:
        digest = hashlib.sha256(str(size).encode())
        digest.update(opened.read(_END))
        opened.seek(-_END, os.SEEK_END)
        digest.update(opened.read(_END))
    return digest.hexdigest()
