"""The settings of [`RewardHeadsTrainer`]."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.head import PAIR_LOSSES, RATING_LOSSES
from reward_heads.losses.label_noise import CORRECTIONS
from reward_heads.model import SIDES
from reward_heads.pooling import POOLINGS
from reward_heads.sampling import GROUP_BY_PROMPT

ORDERS = ("random", "sequential", "group_by_length", GROUP_BY_PROMPT)


@dataclass
class RewardHeadsConfig(TrainingArguments):
    """Settings of [`RewardHeadsTrainer`]: those of `transformers.TrainingArguments` and the ones below.

    Defaults that differ from `TrainingArguments`: `learning_rate` 1e-4, `logging_steps` 10, `bf16` where the GPU has it,
    `remove_unused_columns` `False`, and batches of like length (`train_sampling_strategy` "group_by_length").
    """

    _VALID_DICT_FIELDS = [  # noqa: RUF012
        *TrainingArguments._VALID_DICT_FIELDS,
        *("objective_weights", "pair_loss", "rating_loss", "label_noise", "rating_range"),
    ]

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
            "help": "Order of the training rows: 'group_by_length' puts rows of like length in a batch (less padding), 'group_by_prompt' the rows of a prompt (a completion that "
            "several of them compare is read once: for rankings of a prompt's completions), 'random', 'sequential'.",
            "choices": list(ORDERS),
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
    pair_loss: dict[str, str] | str | None = field(
        default="bradley_terry",
        metadata={
            "help": "What pairs teach: 'bradley_terry' (a tie is half a win each), 'rao_kupper' or 'davidson' (ties modelled; the label 0.5 is a tie); one for all, or by "
            "objective: {'helpful': 'davidson'}."
        },
    )
    tie_parameter: float | None = field(
        default=None,
        metadata={
            "help": "Fix Rao-Kupper's threshold (at least 1) or Davidson's propensity (at least 0); by default it is learned for each objective."
        },
    )
    label_noise: dict[str, float] | str | None = field(
        default=None,
        metadata={
            "help": "Share of each objective's pair labels that is flipped, such as {'helpful': 0.1}, to learn as if none were; reward_heads.diagnose estimates it."
        },
    )
    noise_correction: str = field(
        default="unbiased",
        metadata={
            "help": "How label_noise is allowed for: 'unbiased' (the loss is right on average), 'forward' (likelihood of the noisy label, bounded below), 'conservative' (smoothed labels).",
            "choices": list(CORRECTIONS),
        },
    )
    rating_loss: dict[str, str] | str | None = field(
        default="squared",
        metadata={
            "help": "What ratings teach: 'squared', 'huber' (wild ratings count less), 'ordinal' (ordered levels whose distances are learned) or 'binary' (flags); one for "
            "all, or by objective."
        },
    )
    huber_delta: float = field(
        default=1.0, metadata={"help": "Beyond how many standard deviations of the ratings 'huber' is linear."}
    )
    rating_range: dict[str, list[float]] | str | None = field(
        default=None,
        metadata={
            "help": "Lowest and highest rating of an objective, such as {'helpful': [1, 5]}; a rating outside is an error."
        },
    )
    loss_learning_rate: float = field(
        default=1e-2,
        metadata={
            "help": "Initial learning rate of what losses learn themselves: thresholds of ordinal ratings and tie parameters."
        },
    )
    pooling: str | None = field(
        default=None,
        metadata={
            "help": "What the heads read: 'model' (a decoder's last token, an encoder's first) or 'mean' (all tokens; other programs can't read such heads); by default as the model "
            "has it.",
            "choices": list(POOLINGS),
        },
    )
    freeze_trunk: bool = field(default=False, metadata={"help": "Train the heads only."})
    lora_rank: int | None = field(
        default=None,
        metadata={
            "help": "Train LoRA layers of this rank (and the heads) instead of all weights; they are merged into the saved model."
        },
    )
    lora_alpha: float | None = field(
        default=None,
        metadata={"help": "The LoRA's update is scaled by alpha / rank; by default alpha is twice the rank."},
    )
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Linear layers of the trunk that get a LoRA, by the end of their names (q_proj v_proj); by default all."
        },
    )
    max_length: int | None = field(
        default=None,
        metadata={"help": "Longest text in tokens; by default what model and tokenizer allow."},
    )
    truncation_side: str | None = field(
        default=None,
        metadata={
            "help": "Where longer texts are cut: 'left' keeps the completion, 'right' the beginning of the prompt; by default as the model has it, 'left' for a new one.",
            "choices": list(SIDES),
        },
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
        for name in ("max_length", "center_samples", "lora_rank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        for name in ("huber_delta", "loss_learning_rate", "lora_alpha"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be a positive number, found {value}")
        choices: tuple[tuple[str, Sequence[str]], ...]
        choices = (
            ("noise_correction", CORRECTIONS),
            ("pooling", POOLINGS),
            ("truncation_side", SIDES),
            ("train_sampling_strategy", ORDERS),
        )
        for name, allowed in choices:
            if getattr(self, name) is not None and getattr(self, name) not in allowed:
                raise unknown_name(name, str(getattr(self, name)), allowed)
        self._check_losses()
        self._check_numbers()
        self._check_adapters()

    def _check_losses(self) -> None:
        for field_name, allowed in (("pair_loss", PAIR_LOSSES), ("rating_loss", RATING_LOSSES)):
            value = getattr(self, field_name)
            for kind in value.values() if isinstance(value, dict) else (value,):
                if kind is not None and kind not in allowed:
                    raise unknown_name(field_name, str(kind), allowed)
        if self.tie_parameter is None:
            return
        kinds = set(self.pair_loss.values() if isinstance(self.pair_loss, dict) else [self.pair_loss])
        smallest = {"rao_kupper": 1.0, "davidson": 0.0}
        if not kinds & set(smallest):
            raise InputError("tie_parameter belongs to pair_loss rao_kupper or davidson, which no objective has")
        least = max(bound for kind, bound in smallest.items() if kind in kinds)
        if not (math.isfinite(self.tie_parameter) and self.tie_parameter >= least):
            raise InputError(f"tie_parameter must be at least {least:g}, found {self.tie_parameter}")

    def _check_numbers(self) -> None:
        rules = (
            ("objective_weights", "weight", "a positive number", lambda value: value > 0),
            ("label_noise", "flip rate", "at least 0 and below 0.5", lambda value: 0 <= value < 0.5),
        )
        for name, what, allowed, fits in rules:
            found = getattr(self, name)
            if found is not None and not isinstance(found, dict):
                raise InputError(f"{name} must map objectives to numbers, found {found!r}")
            for objective, value in (found or {}).items():
                if not _is_number(value) or not fits(value):
                    raise InputError(f"{name}: the {what} of '{objective}' must be {allowed}, found {value!r}")
        if self.rating_range is None:
            return
        if not isinstance(self.rating_range, dict):
            raise InputError(f"rating_range must map objectives to [lowest, highest], found {self.rating_range!r}")
        for objective, bounds in self.rating_range.items():
            pair = isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(_is_number, bounds))
            if not pair or not bounds[0] < bounds[1]:
                raise InputError(f"rating_range of '{objective}' must be [lowest, highest], found {bounds!r}")

    def _check_adapters(self) -> None:
        if self.lora_rank is None:
            for name in ("lora_alpha", "lora_target_modules"):
                if getattr(self, name) is not None:
                    raise InputError(f"{name} does nothing without lora_rank")
        elif self.freeze_trunk:
            raise InputError("freeze_trunk trains the heads only, lora_rank the trunk too: choose one")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
