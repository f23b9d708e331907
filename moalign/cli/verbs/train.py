"""`moalign train METHOD`: train a steerable policy; the output folder becomes its bundle."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, Values, about, parse
from moalign.cli.console import is_main_process, say
from moalign.cli.launch import LaunchOptions, launch
from moalign.cli.methods import METHODS, find_method
from moalign.cli.output_folder import (
    check_unused,
    check_writable,
    clear_results,
    nothing_left_of_refused_input,
)
from moalign.cli.quiet import hide_loading_bars
from moalign.cli.sources import REWARD_HELP, load_normalizer, load_reward
from moalign.training.runs.stopping import RunInterrupted, RunStopped, RunTerminated

if TYPE_CHECKING:
    from moalign.policy import SteerablePolicy

# Shown by --help; the rest by --help-all.
COMMON = (
    *("max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("beta", "seed", "logging_steps", "save_steps", "save_total_limit", "bf16", "use_cpu"),
)
BY_DATA = {
    "prompts": ("num_generations", "max_completion_length", "temperature"),
    "pairs": ("loss_type", "max_length"),
}


@dataclass
class TrainOptions:
    """Options of `moalign train` besides those of the method."""

    model: str = field(metadata=about("The base model (folder or hub id), or a bundle to train further."))
    reward: str = field(metadata=about(REWARD_HELP))
    dataset: str = field(
        metadata=about(
            "Prompts (any records), or preference pairs for a method that learns from them (.jsonl, .json, .csv, .parquet, .txt, a hub name)."
        )
    )
    output_dir: str = field(metadata=about("The run folder, which becomes the bundle."))
    eval_dataset: str | None = field(
        default=None,
        metadata=about(
            "The same kind of data for evaluation during training (eval_strategy), and for the report that maxmin and lagrangian end with (else made on the "
            "training prompts)."
        ),
    )
    skip_bad_rows: bool = field(
        default=False, metadata=about("Leave broken rows of the data out, and write them to a side file.")
    )
    resume_from_checkpoint: bool | str | None = field(
        default=None, metadata=about("true: go on from the latest checkpoint in output_dir; or the path of one.")
    )
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


def command(name: str) -> Command:
    """The verb with the settings of a method.

    Raises:
        InputError: no such method.
    """
    method = find_method(name)
    config_class, _ = method.load()
    common = (*COMMON, *BY_DATA[method.data])
    return Command(
        f"train {name.replace('-', '_')}", method.summary, (TrainOptions, LaunchOptions, config_class), common=common
    )


def run(arguments: Sequence[str]) -> int:
    """Train, and write the bundle, its card, the resolved config and the metrics."""
    if not arguments or arguments[0].startswith("-"):
        if {"--help", "-h", "--help-all"} & set(arguments):
            say("usage: moalign train METHOD [--config x.yaml] [--field value ...]\n\nMethods:")
            for name, method in METHODS.items():
                say(f"  {name:<16} {method.summary}")
            say("\n`moalign train METHOD --help` shows a method's options.")
            return 0
        raise InputError(
            f"moalign train needs a method first: {', '.join(METHODS)}, as in `moalign train clp --config clp.yaml`"
        )
    method = find_method(arguments[0])
    config_class, trainer_class = method.load()
    values = parse(command(arguments[0]), arguments[1:])
    if values is None:
        return 0
    options = values.build(TrainOptions)
    _check(options, isinstance(trainer_class, type))
    processes = values.build(LaunchOptions)
    if processes.asked():
        return launch(["train", *arguments], processes, bool(values.given.get("use_cpu")))
    try:
        with nothing_left_of_refused_input(options.output_dir):
            _train(options, values, config_class, trainer_class, method.data)
    except (RunStopped, RunTerminated, RunInterrupted) as error:
        return _ended_early(error)
    say(
        f"The bundle is in {options.output_dir}. Next: moalign front {options.output_dir} --reward {options.reward} --dataset PROMPTS"
    )
    return 0


def _ended_early(error: RunStopped | RunTerminated | RunInterrupted) -> int:
    """Say why a run ended before its last step; the exit code: 1 it cannot go on, 143 SIGTERM, 130 Ctrl-C."""
    stopped = isinstance(error, RunStopped)
    if is_main_process():
        sys.stderr.write(f"moalign: {'error: ' if stopped else ''}{error}\n")
    return 1 if stopped else 143 if isinstance(error, RunTerminated) else 130


def _check(options: TrainOptions, one_run: bool) -> None:
    out = Path(options.output_dir)
    resume = options.resume_from_checkpoint
    if not resume:
        check_unused(out, options.overwrite_output_dir, ", go on with --resume_from_checkpoint true")
        return
    check_writable(out)
    if not one_run:
        if isinstance(resume, str):
            raise InputError(
                f"resume_from_checkpoint: this method is several runs in a row, each with checkpoints of its own: give true instead of {resume}"
            )
        if not any((out / "runs").glob("*/checkpoint-*")):
            raise InputError(f"resume_from_checkpoint: {out / 'runs'} holds no checkpoint to go on from")
        return
    if isinstance(resume, str) and not (Path(resume) / "trainer_state.json").is_file():
        found = ", ".join(p.name for p in sorted(out.glob("checkpoint-*"))) or "none"
        raise InputError(f"resume_from_checkpoint: {resume} is no checkpoint; checkpoints in {out}: {found}")
    if resume is True:
        from moalign.training.runs.checkpoints import latest_checkpoint

        latest_checkpoint(out, required=True, verify=False)  # the trainer reads all of it, once


def _train(options: TrainOptions, values: Values, config_class: Any, trainer_class: Any, data: str) -> None:
    is_trainer = isinstance(trainer_class, type)
    # Runs of a method that trains several policies lie beside the bundle's adapters, not among them.
    folder = options.output_dir if is_trainer else str(Path(options.output_dir) / "runs")
    # Trainer would take our silence of its notes for a wish not to see progress.
    bars = {} if "disable_tqdm" in values.given else {"disable_tqdm": False}
    config = values.build(config_class, output_dir=folder, **bars, **values.build(LaunchOptions).precision())
    from moalign.data import read_pairs, read_prompts

    read = read_pairs if data == "pairs" else read_prompts
    dataset = read(options.dataset, skip_bad_rows=options.skip_bad_rows).dataset
    evaluation: dict[str, Any] = {}
    if options.eval_dataset is not None:
        evaluation = {"eval_dataset": read(options.eval_dataset, skip_bad_rows=options.skip_bad_rows).dataset}
    hide_loading_bars()
    from moalign.cli.run_record import RecordSources

    reward = load_reward(options.reward)
    model, normalizer = _model(options.model, reward.objectives)
    sources = {name: getattr(options, name) for name in ("model", "reward", "dataset", "eval_dataset")}
    shared = evaluation | {"normalizer": normalizer, "callbacks": [RecordSources(sources)]}
    if not is_trainer:
        resume = bool(options.resume_from_checkpoint)
        if options.overwrite_output_dir and not resume:
            clear_results(options.output_dir)
        policy = trainer_class(model, reward, config, dataset, resume_from_checkpoint=resume, **shared)
        if is_main_process():
            _save_policy(policy, Path(options.output_dir), config, sources)
        return
    trainer = trainer_class(model, reward, config, dataset, **shared)
    if options.overwrite_output_dir and not options.resume_from_checkpoint:
        clear_results(options.output_dir)
    trainer.train(resume_from_checkpoint=options.resume_from_checkpoint or None)
    trainer.save_model(options.output_dir)


def _model(name: str, objectives: Sequence[str]) -> tuple[Any, Any]:
    """What to train: a base model's name, or a bundle's policy with the normaliser that its weights refer to."""
    from moalign.bundle import is_bundle

    if not is_bundle(name):
        return name, None
    from moalign.policy import SteerablePolicy

    policy = SteerablePolicy.from_pretrained(name)
    return policy, load_normalizer(policy.normalizer, objectives)


def _save_policy(policy: "SteerablePolicy", out: Path, config: Any, sources: dict[str, Any]) -> None:
    """The bundle of several runs, one config for all, and their metrics one after the other."""
    from frontier.atomic import write_text
    from moalign.training.runs.folder import METRICS, write_config

    policy.save_pretrained(out)
    write_config(out, config.to_dict() | sources | {"method": policy.training.get("method"), "output_dir": str(out)})
    lines = []
    for objective in policy.objectives:
        path = out / "runs" / objective / METRICS
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            lines.append(json.dumps({"objective": objective} | json.loads(line)) + "\n")
    write_text(out / METRICS, "".join(lines))
