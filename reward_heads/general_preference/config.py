"""The settings of a general preference model."""

import math
from dataclasses import dataclass, field

from frontier.errors import InputError


@dataclass(frozen=True)
class GeneralPreferenceConfig:
    """Settings of [`fit_general_preference`].

    Raises:
        InputError: a value is not possible; names the field and what is allowed.
    """

    blocks: int = field(
        default=4, metadata={"help": "k: an embedding has 2k numbers; one block holds one cycle or one scalar reward."}
    )
    hidden: int = field(
        default=0, metadata={"help": "Units of a hidden layer between features and embedding; 0 = linear."}
    )
    unit_norm: bool = field(
        default=False,
        metadata={
            "help": "Give every embedding length 1, as in the paper; then nothing is better than all else by a lot."
        },
    )
    temperature: float = field(default=1.0, metadata={"help": "Divides the score; the paper has 0.1 with unit_norm."})
    prompt_scales: bool = field(
        default=False,
        metadata={"help": "Let the prompt say how much each block counts; needs features of the prompts."},
    )
    weight_decay: float = field(
        default=1e-3, metadata={"help": "Squared weights (of standardised features), per pair and in nats."}
    )
    steps: int = field(default=400, metadata={"help": "Updates of Adam, at most."})
    learning_rate: float = field(default=0.02, metadata={"help": "At the beginning; falls to 0 as a cosine."})
    batch_size: int = field(default=1024, metadata={"help": "Pairs per update."})
    held_out: float = field(
        default=0.1, metadata={"help": "Share of the pairs that chooses the best update; 0 = take the last."}
    )
    seed: int = field(default=0, metadata={"help": "Of the weights, the split and the order of pairs."})

    def __post_init__(self) -> None:
        for name in ("blocks", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("temperature", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be positive, found {value}")
        for name in ("hidden", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative, found {getattr(self, name)}")
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out must be at least 0 and below 1, found {self.held_out}")
