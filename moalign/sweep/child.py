"""The process of one job: train, measure, say so. `python -m moalign.sweep.child jobs/NAME`."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

from frontier.errors import InputError
from moalign.sweep.folder import JobFolder

LOOK_EVERY = 1.0


def main(arguments: list[str]) -> int:
    """Do what is left of the job; the exit code of `moalign train` where it fails, 0 once `result.json` stands."""
    folder = JobFolder(Path(arguments[0]))
    end_with_parent()
    with _alone(folder):
        return _run(folder)


def _run(folder: JobFolder) -> int:
    about = folder.read()
    if about is None:
        sys.stderr.write(f"moalign: error: {folder.path} holds no job\n")
        return 2
    identity, started, seconds = about["job"], perf_counter(), {}
    if identity["method"] is not None and not folder.trained(identity):
        code = _train(folder, identity["method"])
        if code:
            return code
        folder.mark_trained(identity)
        seconds["train"] = perf_counter() - started
    if about["evaluation"] is not None:
        started = perf_counter()
        try:
            _measure(folder, about)
        except InputError as error:
            sys.stderr.write(f"moalign: error: {error}\n")
            return 2
        seconds["measure"] = perf_counter() - started
    folder.finish(identity, about["evaluation"], {"seconds": seconds})
    return 0


def _measure(folder: JobFolder, about: dict[str, Any]) -> None:
    from moalign.cli.quiet import hide_loading_bars, quiet
    from moalign.sweep.measure import measure_job

    with quiet(False):
        hide_loading_bars()
        measure_job(folder, about)


def _train(folder: JobFolder, method: str) -> int:
    from moalign.cli import main as moalign

    # A folder that holds a part of a run and nothing to go on from is overwritten: it is this job's own.
    how = ["--resume_from_checkpoint", "true"] if _can_resume(folder.bundle) else ["--overwrite_output_dir"]
    return moalign(["train", method, "--config", str(folder.config), "--output_dir", str(folder.bundle), *how])


def _can_resume(bundle: Path) -> bool:
    from moalign.training.runs.checkpoints import latest_checkpoint

    runs = [bundle, *(run for run in (bundle / "runs").glob("*") if run.is_dir())]
    return any(latest_checkpoint(run) is not None for run in runs if run.is_dir())


def _alone(folder: JobFolder) -> TextIO:
    """Wait for the process of a sweep that was killed, which may still be saving."""
    lock = (folder.path / ".lock").open("w")
    with suppress(ImportError, OSError):  # no such locks on this system
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def end_with_parent() -> None:
    """Ask this process to end, as SIGTERM does, once the sweep that started it is gone: no run goes on that nobody waits for."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
