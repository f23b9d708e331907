"""Run independent trainings side by side, one thread each, and keep going when one of them fails."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from tqdm import tqdm


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


def run_jobs(jobs: Sequence[Job], workers: int | None = None, what: str = "Oracle") -> list[Result]:
    """Run all jobs in `workers` processes (as many as there are cores by default); results in the order of the jobs."""
    workers = workers or os.cpu_count() or 1
    order = sorted(range(len(jobs)), key=lambda i: -jobs[i].cost)
    results: dict[int, Result] = {}
    # Spawned, not forked: a forked torch hangs as soon as its parent has used threads.
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_process) as pool,
        tqdm(total=round(sum(job.cost for job in jobs)), desc=what, unit="s") as bar,
    ):
        waiting = {pool.submit(run_job, jobs[i]): i for i in order}
        for done in as_completed(waiting):
            i = waiting[done]
            results[i] = done.result()
            bar.update(round(jobs[i].cost))
            bar.set_postfix_str(jobs[i].function.__name__)
    return [results[i] for i in range(len(jobs))]
