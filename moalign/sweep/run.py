"""Run a sweep from beginning to end: plan, check, train and measure what is missing, put one front together."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from frontier.errors import InputError
from moalign.cli.output_folder import check_writable
from moalign.sweep.config import SweepConfig
from moalign.sweep.engines import Engine, LocalEngine
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job, expand
from moalign.sweep.results import SweepResult, sweep_front, write_results
from moalign.sweep.runner import Outcome, run_jobs


def run_sweep(
    config: SweepConfig,
    engine: Engine | None = None,
    watch: Callable[[Sequence[Outcome]], None] | None = None,
) -> SweepResult:
    """Do what is left of a sweep.

    Jobs whose `result.json` stands and whose settings are those of now are not repeated. Where only the evaluation changed, a job is measured again and not trained
    again. A job that fails for good leaves the others alone; `result.failed` names it.

    Args:
        config (`SweepConfig`): the sweep.
        engine (`Engine`, *optional*): runs the jobs; by default what the configuration names. One that is given is not closed.
        watch (`Callable`, *optional*): called with the outcomes again and again, such as a `LiveTable`.

    Raises:
        InputError: the configuration is refused, or a job was run with other settings before (and `rerun_changed` is not set).
        Interrupted: SIGINT or SIGTERM came; the jobs have saved and ended.
    """
    out = check_writable(config.output_dir)
    jobs = expand(config, lambda: _objectives(config))
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        outcomes = prepare(config, jobs)
        if any(outcome.state == "waiting" for outcome in outcomes):
            own = None if engine is not None else make_engine(config)
            try:
                run_jobs(outcomes, engine or own, retries=config.retries, watch=watch)  # type: ignore[arg-type]
            finally:
                if own is not None:
                    own.close()
        evaluation = config.evaluation_config()
        front = None if evaluation is None else sweep_front(outcomes, evaluation)
        result = SweepResult(outcomes, front)
        write_results(out, result)
    return result


def prepare(config: SweepConfig, jobs: Sequence[Job]) -> list[Outcome]:
    """The folder of every job, with what it is to do; jobs that are done are marked.

    Raises:
        InputError: a folder in which another job was run, unless such are to be run again.
    """
    evaluation = config.evaluation_config()
    asked = None if evaluation is None else evaluation.to_json()
    outcomes = [Outcome(job, JobFolder.of(config.output_dir, job)) for job in jobs]
    changed = []
    for outcome in outcomes:
        try:
            outcome.folder.check_unchanged(outcome.job)
        except InputError:
            if not config.rerun_changed:
                raise
            changed.append(outcome)
    # Nothing is removed or written before all are checked.
    for outcome in changed:
        outcome.folder.clear()
    for outcome in outcomes:
        if outcome.folder.finished(outcome.job, asked):
            outcome.state = "kept"
        else:
            outcome.folder.write(outcome.job, asked)
    return outcomes


def make_engine(config: SweepConfig) -> Engine:
    """What the configuration names."""
    if config.engine == "ray":
        from moalign.sweep.ray_engine import RayEngine

        return RayEngine(config.ray_address, cpus=config.cpus_per_job, gpus=config.gpus_per_job)
    return LocalEngine(config.devices)


def _objectives(config: SweepConfig) -> Sequence[str]:
    from moalign.cli.sources import load_reward

    if config.reward is None:
        raise InputError("preference_lattice needs the reward of all jobs, whose objectives it is over: give reward")
    return load_reward(config.reward).objectives


def _alone(out: Path) -> AbstractContextManager[Any]:
    """Refuse a second sweep in the same folder at the same time."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return nullcontext()
    lock = (out / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InputError(f"output_dir {out}: another sweep is running there") from None
    except OSError:  # a file system without locks
        return lock
    return lock
