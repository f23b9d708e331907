"""Add what a run was started with (model, reward, data) to its resolved config, so that the folder alone says how to repeat it."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moalign.training.run_folder import CONFIG, write_config


class RecordSources(TrainerCallback):
    """When training begins, put these names into `config.json` beside the trainer's own settings.

    Args:
        sources (`dict`): such as `{"model": ..., "reward": ..., "dataset": ...}`.
    """

    def __init__(self, sources: dict[str, Any]) -> None:
        self.sources = sources

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Rewrite the file as a whole."""
        if state.is_world_process_zero:
            path = Path(str(args.output_dir)) / CONFIG
            known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else args.to_dict()
            write_config(str(args.output_dir), known | self.sources)
