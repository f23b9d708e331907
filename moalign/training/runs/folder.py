"""What every run leaves beside its weights: the resolved configuration, one line of metrics per log, and a quiet progress bar."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from frontier.atomic import write_text

METRICS = "metrics.jsonl"
CONFIG = "config.json"


class MetricsFile(TrainerCallback):
    """Append every log to `metrics.jsonl` in the output folder; a resumed run first drops the lines that it will write again."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the lines up to the step that training starts from."""
        path = Path(str(args.output_dir)) / METRICS
        if state.is_world_process_zero:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() and state.global_step else []
            kept = [line for line in lines if _is_whole(line) and json.loads(line)["step"] <= state.global_step]
            write_text(path, "".join(line + "\n" for line in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """One JSON object a line, `step` first; numbers that are not finite become null."""
        if state.is_world_process_zero and logs:
            line = {"step": state.global_step} | finite(logs)
            with (Path(str(args.output_dir)) / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _is_whole(line: str) -> bool:
    """Whether a line was written to its end; a run that was killed while it wrote leaves a part of its last one."""
    try:
        return "step" in json.loads(line)
    except ValueError:
        return False


def finite(value: Any) -> Any:
    """The value with null for every number in it that is not finite, for JSON has no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class QuietProgress(ProgressCallback):
    """The usual progress bar, with a few figures at its end instead of a printed dictionary per log."""

    shown = ("loss", "reward", "rewards/margins", "kl", "steering_error")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Put the figures that fit one line behind the bar."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            figures = {name: f"{logs[name]:.3g}" for name in self.shown if isinstance(logs.get(name), float)}
            if figures:
                self.training_bar.set_postfix(figures)


def watch(trainer: Trainer) -> None:
    """Give a trainer `metrics.jsonl` and the quiet progress bar."""
    trainer.add_callback(MetricsFile)
    trainer.remove_callback(PrinterCallback)  # every line that it prints stands in metrics.jsonl
    if not trainer.args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(QuietProgress)


def write_config(folder: str | Path, config: dict[str, Any]) -> None:
    """Write the resolved configuration of a run, so that it can be repeated from the folder alone."""
    write_text(Path(folder) / CONFIG, json.dumps(config, indent=2, default=str, sort_keys=True) + "\n")
