"""`moalign reward train`: train reward heads on pairs and ratings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frontier.errors import InputError
from moalign.cli.command import Command, Values, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import (
    check_unused,
    check_writable,
    clear_results,
    nothing_left_of_refused_input,
)
from moalign.cli.quiet import hide_loading_bars

# Not config.json: in this folder that is the model's.
CONFIG = "training_config.json"
COMMON = (
    *("max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "seed"),
    *("eval_strategy", "eval_steps", "save_steps", "save_total_limit", "use_cpu"),
)


@dataclass
class RewardOptions:
    """Options of `moalign reward train` besides those of the trainer."""

    model: str = field(
        metadata=about("A language model that gets new heads (folder or hub id), or reward heads to train further.")
    )
    train_data: list[str] = field(
        metadata=about(
            "Files of pairs or ratings (.jsonl, .json, .csv, .parquet, .gz) or hub names; their rows are joined."
        )
    )
    output_dir: str = field(metadata=about("The run folder, which becomes the reward model."))
    eval_data: list[str] | None = field(
        default=None, metadata=about("Held-out pairs or ratings, for the accuracy of each objective.")
    )
    skip_bad_rows: bool = field(default=False, metadata=about("Leave broken rows out, and write them to a side file."))
    resume_from_checkpoint: bool | str | None = field(
        default=None, metadata=about("true: go on from the latest checkpoint in output_dir; or the path of one.")
    )
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


def command() -> Command:
    """The verb with the trainer's settings."""
    from reward_heads import RewardHeadsConfig

    return Command(
        "reward train",
        "Train one reward head per objective on pairs (which completion is better) and ratings (how good it is); any label may be missing. The result is an "
        "ordinary sequence-classification model.",
        (RewardOptions, RewardHeadsConfig),
        common=COMMON,
    )


def run(arguments: Sequence[str]) -> int:
    """Train, write the reward model, its resolved config and metrics, print the accuracies."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(RewardOptions)
    _check(options)
    with nothing_left_of_refused_input(options.output_dir):
        _train(options, values)
    say(
        f"The reward model is in {options.output_dir}. Next: moalign train clp --model BASE --reward {options.output_dir} --dataset PROMPTS"
    )
    return 0


def _check(options: RewardOptions) -> None:
    out = Path(options.output_dir)
    if not options.resume_from_checkpoint:
        check_unused(out, options.overwrite_output_dir, ", go on with --resume_from_checkpoint true")
        return
    check_writable(out)
    place = out if options.resume_from_checkpoint is True else Path(str(options.resume_from_checkpoint))
    if not any(place.glob("checkpoint-*" if options.resume_from_checkpoint is True else "trainer_state.json")):
        raise InputError(f"resume_from_checkpoint: no checkpoint in {place}")


def _train(options: RewardOptions, values: Values) -> None:
    from reward_heads import RewardHeadsConfig, RewardHeadsTrainer

    # Trainer would take our silence of its notes for a wish not to see progress.
    bars = {} if "disable_tqdm" in values.given else {"disable_tqdm": False}
    config = values.build(RewardHeadsConfig, **bars)
    train = _rows(options.train_data, config.objectives, options.skip_bad_rows)
    held_out = _rows(options.eval_data, config.objectives, options.skip_bad_rows) if options.eval_data else None
    hide_loading_bars()
    from frontier.atomic import write_text
    from moalign.training.runs.folder import watch

    trainer = RewardHeadsTrainer(options.model, config, train, held_out)
    watch(trainer)
    if trainer.is_world_process_zero():
        sources = {name: getattr(options, name) for name in ("model", "train_data", "eval_data")}
        resolved = config.to_dict() | sources | {"method": "reward_heads"}
        write_text(
            Path(options.output_dir) / CONFIG, json.dumps(resolved, indent=2, default=str, sort_keys=True) + "\n"
        )
    if options.overwrite_output_dir and not options.resume_from_checkpoint:
        clear_results(options.output_dir)
    resume = options.resume_from_checkpoint
    if resume is True:
        from moalign.training.runs.checkpoints import latest_checkpoint

        resume = str(latest_checkpoint(options.output_dir, required=True, needs=()))
    trainer.train(resume_from_checkpoint=resume or None)
    metrics = trainer.evaluate() if held_out is not None else {}
    if trainer.is_world_process_zero():
        trainer.reward.save_pretrained(options.output_dir)
    say(accuracy_table(trainer.reward.objectives, metrics, held_out))


def accuracy_table(objectives: Sequence[str], metrics: dict[str, float], rows: list[dict[str, Any]] | None) -> str:
    """What held-out data says of each head, one line an objective.

    Args:
        objectives (`Sequence[str]`): the heads.
        metrics (`dict`): of `RewardHeadsTrainer.evaluate`.
        rows (`list[dict]`, *optional*): the held-out records, for the number of labels behind each figure.
    """
    if rows is None:
        return f"Objectives: {', '.join(objectives)}. Without --eval_data their accuracy is not measured."
    width = max(map(len, objectives))
    lines = ["On held-out data:"]
    for name in objectives:
        parts = []
        accuracy, error = metrics.get(f"eval_accuracy/{name}"), metrics.get(f"eval_mse/{name}")
        side = metrics.get(f"eval_sign_accuracy/{name}")
        if accuracy is not None:
            n = sum((row.get("labels") or {}).get(name) not in (None, 0.5) for row in rows)
            deviation = (accuracy * (1 - accuracy) / n) ** 0.5 if n else float("nan")
            parts.append(f"accuracy {accuracy:.3f} ± {deviation:.3f} ({n} pairs)")
        if error is not None:
            n = sum((row.get("scores") or {}).get(name) is not None for row in rows)
            parts.append(f"mean squared error {error:.3f} ({n} ratings, in units of their variance)")
        if side is not None:
            n = sum((row.get("scores") or {}).get(name) is not None for row in rows)
            parts.append(f"right side of zero {side:.3f} ({n} flags)")
        for metric, words in (
            ("outcome_accuracy", "outcome (a, b or tie) {:.3f}"),
            ("level_accuracy", "right level {:.3f}"),
            ("level_error", "off by {:.3f} on average, in the ratings' units"),
        ):
            value = metrics.get(f"eval_{metric}/{name}")
            if value is not None:
                parts.append(words.format(value))
        lines.append(f"  {name:<{width}}  {'; '.join(parts) or 'no labels'}")
    cut = metrics.get("eval_truncated_texts")
    if cut:
        lines.append(f"  {cut:g} texts were longer than max_length and were cut.")
    return "\n".join(lines)


def _rows(sources: Sequence[str], objectives: Sequence[str] | None, skip_bad_rows: bool) -> list[dict[str, Any]]:
    from moalign.data import read_records

    return [row for source in sources for row in read_records(source, objectives, skip_bad_rows).dataset]
