"""`moalign sweep`: train and measure many (method, preference, seed) jobs, and put one front together."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, parse
from moalign.cli.console import say
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.values import Mismatch, convert
from moalign.data.readers import FORMATS
from moalign.sweep.config import SweepConfig
from moalign.yaml_file import read_flat

if TYPE_CHECKING:
    from moalign.sweep import SweepResult

FAILED = 1


def command(methods: Sequence[str] = ()) -> Command:
    """The verb with the settings of the methods that a sweep trains with.

    Raises:
        InputError: no such method.
    """
    from moalign.cli.methods import find_method

    configs = [find_method(name).load()[0] for name in methods]
    return Command(
        "sweep",
        "Train many policies, one `moalign train` run for every combination of method, preference, seed and grid values, and measure each as `moalign front` does: one "
        "front.json, front.png and front.html of all. Every job has a process and a folder of its own; one that dies is started again from its checkpoint; run the "
        "sweep again and only what is missing is done.",
        (SweepConfig, *dict.fromkeys(configs)),
        details="examples/sweep.yaml is a configuration to start from. All settings of the methods may stand in it beside these options.\n"
        "Exit codes: 0 all jobs are done; 1 a job failed for good; 2 the input is wrong; 130 and 143 interrupted, and resumable.",
    )


def run(arguments: Sequence[str]) -> int:
    """Run what is missing, write the front, print what became of every job."""
    # The settings of the methods would bury the sweep's own.
    short = {"--help", "-h"} & set(arguments)
    values = parse(command(() if short else named_methods(arguments)), arguments)
    if values is None:
        return 0
    config = _config(values.given)
    _check_data(config)
    hide_loading_bars()
    from moalign.sweep.live import LiveTable
    from moalign.sweep.run import run_sweep
    from moalign.sweep.runner import Interrupted, Outcome

    live = LiveTable()
    seen: list[Sequence[Outcome]] = []

    def watch(outcomes: Sequence[Outcome]) -> None:
        seen[:] = [outcomes]
        live(outcomes)

    try:
        result = run_sweep(config, watch=watch)
    except Interrupted as interrupted:
        say(f"moalign: {interrupted}; the same command goes on with what is missing")
        return 128 + interrupted.signum
    finally:
        if seen:
            live.close(seen[0])
    _report(Path(config.output_dir), result)
    return FAILED if result.failed else 0


def named_methods(arguments: Sequence[str]) -> list[str]:
    """The methods that a sweep trains with, whose settings are options of the command too; read before all else."""
    texts, config = _values_of("--methods", arguments), _values_of("--config", arguments)
    found: object = ",".join(texts)
    if not texts and config:
        entry = read_flat(config[-1]).get("methods")
        found = entry.value if entry is not None else ""
    try:
        return [name for name in convert(found, list[str]) if name]
    except Mismatch:
        return []  # parsing says what is wrong with it


def _values_of(flag: str, arguments: Sequence[str]) -> list[str]:
    after = [value for name, value in itertools.pairwise(arguments) if name == flag]
    return after + [a.removeprefix(f"{flag}=") for a in arguments if a.startswith(f"{flag}=")]


def _config(given: dict[str, Any]) -> SweepConfig:
    """The sweep's own settings, and under `train` those of its methods."""
    own = {f.name for f in dataclasses.fields(SweepConfig)}
    settings = {name: value for name, value in given.items() if name not in own}
    sweep = {name: value for name, value in given.items() if name in own}
    if settings:
        sweep["train"] = (sweep.get("train") or {}) | settings
    return SweepConfig(**sweep)


def _check_data(config: SweepConfig) -> None:
    """Refuse a file that is not there once, before job after job fails for it.

    Raises:
        InputError: a new sweep on this machine reads a file of data that does not exist.
    """
    # A sweep that goes on may be done with its data, and the machines of a Ray cluster have files of their own.
    if config.engine != "local" or Path(config.output_dir).exists():
        return
    places = [config.shared_settings(), *(config.per_method or {}).values(), config.grid or {}, config.evaluation or {}]
    for name in ("dataset", "eval_dataset"):
        for found in (place.get(name) for place in places if isinstance(place, Mapping)):
            for path in found if isinstance(found, list) else [found]:
                if isinstance(path, str) and path.removesuffix(".gz").endswith(FORMATS) and not Path(path).exists():
                    raise InputError(f"{name}: no such file: '{path}'")


def _report(out: Path, result: "SweepResult") -> None:
    import numpy as np

    from moalign.cli.verbs.front import figures

    if result.front is not None:
        say(result.front.table() + "\n")
        # Figures of merit are over weights, which a policy that hears none does not have.
        fronts = {label: f for label, f in result.fronts().items() if not np.isnan(f.weights).any(axis=1).all()}
        if fronts:
            say(figures(fronts) + "\n")
        for note in result.front.info.get("notes", []):
            say(f"note: {note}")
    say(result.table())
    if result.front is not None:
        say(f"\nWritten: {out}/front.json, front.prompts.safetensors, front.png, front.html, sweep.json")
    if result.failed:
        logs = ", ".join(str(outcome.folder.log) for outcome in result.failed)
        say(f"{len(result.failed)} of {len(result.outcomes)} jobs failed for good; what they said: {logs}")
