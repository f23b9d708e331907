"""Add what a run was started with (model, reward, data) to its resolved config, so that the folder alone says how to repeat it."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from moalign.training.runs.folder import CONFIG, write_config
from moalign.training.runs.record import RECORD, amend, file_fingerprint


class RecordSources(TrainerCallback):
    """When training begins, put these names into `config.json` beside the trainer's own settings, and the sums of their files into `run.json`.

    Args:
        sources (`dict`): such as `{"model": ..., "reward": ..., "dataset": ...}`.
    """

    def __init__(self, sources: dict[str, Any]) -> None:
        self.sources = sources

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Rewrite the files as a whole."""
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir))
            path = folder / CONFIG
            known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else args.to_dict()
            write_config(folder, known | self.sources)
            named = {name: source for name, source in self.sources.items() if source is not None}
            amend(
                folder / RECORD,
                sources={name: {"name": str(s), "sha256": _fingerprint(str(s))} for name, s in named.items()},
            )


def _fingerprint(source: str) -> str | None:
    """Of a reward that is given as `FILE.py:NAME`, that of the file."""
    file = source if Path(source).exists() else source.rpartition(":")[0]
    return file_fingerprint(file) if file else None
