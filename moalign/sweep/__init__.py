"""Train and measure many policies with one call, (method, preference, seed) by (method, preference, seed), and get one front of them all.

Every job is a `moalign train` run in a folder and a process of its own, so that one that dies takes nothing with it; then its bundle is measured like those of all
others. The shortest useful program (not run here: it needs a model):

    from moalign.sweep import SweepConfig, run_sweep

    result = run_sweep(
        SweepConfig(
            output_dir="runs/sweep",
            methods=["modpo"],
            preference_lattice=11,
            seeds=[0, 1],
            model="my-base-model",
            reward="runs/reward",
            dataset="pairs.jsonl",
            train={"max_steps": 200},
            evaluation={"dataset": "prompts.jsonl"},
        )
    )
    result.front.table()

The same from a shell: `moalign sweep --config sweep.yaml`. Run it again and only what is missing is done. Names load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.sweep.config import EvaluationConfig, SweepConfig
    from moalign.sweep.engines import Engine, LocalEngine
    from moalign.sweep.jobs import Job, expand
    from moalign.sweep.ray_engine import RayEngine
    from moalign.sweep.results import SweepResult, sweep_front
    from moalign.sweep.run import run_sweep
    from moalign.sweep.runner import Outcome, run_jobs

_HOME = {
    "Engine": "engines",
    "EvaluationConfig": "config",
    "Job": "jobs",
    "LocalEngine": "engines",
    "Outcome": "runner",
    "RayEngine": "ray_engine",
    "SweepConfig": "config",
    "SweepResult": "results",
    "expand": "jobs",
    "run_jobs": "runner",
    "run_sweep": "run",
    "sweep_front": "results",
}

__all__ = [
    "Engine",
    "EvaluationConfig",
    "Job",
    "LocalEngine",
    "Outcome",
    "RayEngine",
    "SweepConfig",
    "SweepResult",
    "expand",
    "run_jobs",
    "run_sweep",
    "sweep_front",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"moalign.sweep.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
