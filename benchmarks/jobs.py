"""Run independent trainings side by side, one thread each, and keep going when one of them fails."""

import hashlib
import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from frontier.atomic import write_text


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        function: at module level, so that another process finds it; gets `settings` and returns JSON values.
        settings (`dict`): its arguments.
        cost (`float`): about how many seconds it takes; the longest start first, so that none is left alone at the end.
    """

    function: Callable[..., dict[str, Any]]
    settings: dict[str, Any]
    cost: float


@dataclass(frozen=True)
class Result:
    """What a job returned, how long it took, or why it failed."""

    job: Job
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None


def run_job(job: Job) -> Result:
    """Run one job here."""
    started = perf_counter()
    try:
        figures = job.function(**job.settings)
    except Exception as error:  # a benchmark reports a broken training as a row that does not hold
        traceback.print_exc()
        return Result(job, seconds=perf_counter() - started, error=f"{type(error).__name__}: {error}")
    return Result(job, figures, perf_counter() - started)


def prepare_process() -> None:
    """One thread, and no bars and notes between those of the others."""
    import logging

    import torch
    from datasets import disable_progress_bars

    torch.set_num_threads(1)
    disable_progress_bars()
    logging.getLogger("moalign").setLevel(logging.ERROR)


def run_jobs(
    jobs: Sequence[Job], workers: int | None = None, what: str = "Oracle", keep: Path | None = None
) -> list[Result]:
    """Run all jobs in `workers` processes (as many as there are cores by default); results in the order of the jobs.

    Args:
        jobs (`Sequence[Job]`): independent of each other.
        workers (`int`, *optional*): processes.
        what (`str`, *optional*): the name of the bar.
        keep (`Path`, *optional*): a folder for what each job returned; a job that is there already is not run again, so that a benchmark that was cut off goes on.
    """
    workers = workers or os.cpu_count() or 1
    results = {i: kept for i, job in enumerate(jobs) if (kept := _kept(job, keep)) is not None}
    order = sorted((i for i in range(len(jobs)) if i not in results), key=lambda i: -jobs[i].cost)
    # Spawned, not forked: a forked torch hangs as soon as its parent has used threads.
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_process) as pool,
        tqdm(total=round(sum(jobs[i].cost for i in order)), desc=what, unit="s") as bar,
    ):
        waiting = {pool.submit(run_job, jobs[i]): i for i in order}
        for done in as_completed(waiting):
            i = waiting[done]
            results[i] = done.result()
            if keep is not None and results[i].error is None:
                found = {"figures": results[i].figures, "seconds": results[i].seconds}
                write_text(_place(jobs[i], keep), json.dumps(found))
            bar.update(round(jobs[i].cost))
            bar.set_postfix_str(jobs[i].function.__name__)
    return [results[i] for i in range(len(jobs))]


def _place(job: Job, keep: Path) -> Path:
    """Where a job's result lies: named by what the job is."""
    named = json.dumps([job.function.__module__, job.function.__name__, job.settings], sort_keys=True, default=str)
    return keep / f"{hashlib.sha256(named.encode()).hexdigest()[:24]}.json"


def _kept(job: Job, keep: Path | None) -> Result | None:
    if keep is None or not _place(job, keep).is_file():
        return None
    return Result(job, **json.loads(_place(job, keep).read_text(encoding="utf-8")))
