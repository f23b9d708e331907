"""The settings of the search for user groups."""

import math
from dataclasses import dataclass, field

from frontier.errors import InputError, unknown_name

CHOICES = {
    "assignment": ("soft", "hard"),
    "selection": ("features", "model"),
    "trainable": ("all", "lora", "heads"),
}


def _choice(name: str, default: str, help: str) -> str:
    return field(default=default, metadata={"help": help, "choices": list(CHOICES[name])})


@dataclass(frozen=True)
class UserGroupsConfig:
    """Settings of [`fit_user_groups`]; [`fit_feature_groups`] uses those that don't speak of a model.

    Raises:
        InputError: a value is not possible; names the field and what is allowed.
    """

    max_groups: int = field(default=4, metadata={"help": "Try 1, 2, ... up to so many groups."})
    groups: int | None = field(
        default=None, metadata={"help": "Exactly so many groups, instead of choosing the number."}
    )
    assignment: str = _choice(
        "assignment",
        "soft",
        "'soft': every user counts for each group by its probability; 'hard': only for the likeliest one (MaxMin-RLHF's).",
    )
    selection: str = _choice(
        "selection",
        "features",
        "How the number of groups is chosen: by linear heads on the frozen model's features (quick), or by a model trained for each number.",
    )
    held_out: float = field(
        default=0.2, metadata={"help": "Share of each user's pairs that is kept from training, to choose and to judge."}
    )
    standard_errors: float = field(
        default=1.0,
        metadata={
            "help": "Take the fewest groups whose held-out likelihood is within so many standard errors of the best."
        },
    )
    restarts: int = field(default=5, metadata={"help": "How many times the search on the features starts anew."})
    ridge: float = field(
        default=1.0,
        metadata={"help": "Pulls the heads on the features to 0; 1 expects differences of about a nat."},
    )
    trainable: str = _choice(
        "trainable", "all", "What is trained: 'all' weights, 'lora' (merged in the end) or only the 'heads'."
    )
    lora_rank: int = field(default=16, metadata={"help": "Rank of the LoRA with --trainable lora."})
    num_epochs: float = field(default=4.0, metadata={"help": "How often training goes through the pairs, in all."})
    rounds: int = field(
        default=4, metadata={"help": "How often, evenly spread over training, the users are assigned anew."}
    )
    learning_rate: float = field(default=1e-4, metadata={"help": "Of AdamW at the beginning; falls to 0 linearly."})
    batch_size: int = field(default=32, metadata={"help": "Pairs per update."})
    max_length: int | None = field(
        default=None,
        metadata={"help": "Longest text in tokens (the beginning is cut); by default what model and tokenizer allow."},
    )
    device: str | None = field(
        default=None, metadata={"help": "Such as cpu or cuda; by default a GPU if there is one."}
    )
    seed: int = field(default=0, metadata={"help": "Of the split, the starts, the heads and the order of the pairs."})

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(name, str(getattr(self, name)), allowed)
        for name in ("max_groups", "groups", "restarts", "lora_rank", "rounds", "batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        for name in ("ridge", "num_epochs", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be positive, found {value}")
        if not self.standard_errors >= 0:
            raise InputError(f"standard_errors must not be negative, found {self.standard_errors}")
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out must be at least 0 and below 1, found {self.held_out}")
        if self.held_out == 0 and self.groups is None:
            raise InputError(
                "held_out is 0, but the number of groups is chosen on held-out pairs: give groups, or hold some out"
            )

    @property
    def candidates(self) -> tuple[int, ...]:
        """The numbers of groups to try."""
        return (self.groups,) if self.groups is not None else tuple(range(1, self.max_groups + 1))
