"""The settings of [`RewardHeadsTrainer`]."""

import math
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from frontier.errors import InputError
from frontier.objectives import check_objectives


@dataclass
class RewardHeadsConfig(TrainingArguments):
    """Settings of [`RewardHeadsTrainer`]: those of `transformers.TrainingArguments` and the ones below.

    Defaults that differ from `TrainingArguments`: `learning_rate` 1e-4, `logging_steps` 10, `bf16` where the GPU has it,
    `remove_unused_columns` `False`, and batches of like length (`train_sampling_strategy` "group_by_length").
    """

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "objective_weights"]  # noqa: RUF012

    learning_rate: float = field(default=1e-4, metadata={"help": "The initial learning rate of AdamW."})
    logging_steps: float = field(
        default=10, metadata={"help": "Log every so many updates; below 1, a fraction of all updates."}
    )
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "bfloat16 mixed precision; by default where the GPU has it, unless fp16 is set."},
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay false: the trainer reads its own columns."}
    )
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={
            "help": "Order of the training rows: 'group_by_length' puts rows of like length in a batch (less padding), 'random', 'sequential'.",
            "choices": ["random", "sequential", "group_by_length"],
        },
    )
    objectives: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names and order of the heads of a new reward model; by default the labelled ones, as they appear."
        },
    )
    objective_weights: dict[str, float] | str | None = field(
        default=None,
        metadata={"help": "Weight of each objective in the loss, such as {'helpful': 2}; 1 for those not named."},
    )
    sign_aware: list[str] | None = field(
        default=None,
        metadata={
            "help": "Objectives whose ratings are flags (1 safe, 0 unsafe), which put the safe/unsafe boundary of their head at 0."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={"help": "Longest text in tokens (the beginning is cut); by default what model and tokenizer allow."},
    )
    disable_dropout: bool = field(
        default=True,
        metadata={"help": "Switch dropout off: two different masks would add noise to every score difference."},
    )
    center_scores: bool = field(
        default=True,
        metadata={
            "help": "After training, make 0 the mean score over the training completions, for objectives without ratings or flags "
            "(pairs say nothing about the level)."
        },
    )
    center_samples: int = field(
        default=1024, metadata={"help": "On how many training completions (spread evenly) that mean is measured."}
    )

    def __post_init__(self) -> None:
        if self.bf16 is None:
            self.bf16 = (
                not self.fp16 and not self.use_cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
            )
        if self.disable_tqdm is None:  # transformers would hide the bar together with its log messages
            self.disable_tqdm = False
        super().__post_init__()
        if self.remove_unused_columns:
            raise InputError("remove_unused_columns must be false: the trainer reads its own columns")
        if self.objectives is not None:
            self.objectives = list(check_objectives(self.objectives))
        if self.sign_aware:
            self.sign_aware = list(check_objectives(self.sign_aware))
        for name, value in (("max_length", self.max_length), ("center_samples", self.center_samples)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        if self.objective_weights is not None:
            if not isinstance(self.objective_weights, dict):
                raise InputError(f"objective_weights must map objectives to numbers, found {self.objective_weights!r}")
            for name, weight in self.objective_weights.items():
                if not isinstance(weight, int | float) or not math.isfinite(weight) or weight <= 0:
                    raise InputError(
                        f"objective_weights: the weight of '{name}' must be a positive number, found {weight!r}"
                    )
