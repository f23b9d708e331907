"""The settings of a gate."""

import math
from dataclasses import dataclass, field

from frontier.errors import InputError


@dataclass(frozen=True)
class GateConfig:
    """Settings of [`fit_gate_on_pairs`] and [`fit_gate_on_responses`]; the defaults of network and optimiser are [ArmoRM's](https://huggingface.co/papers/2406.12845).

    Raises:
        InputError: a value is not possible; names the field and what is allowed.
    """

    hidden: tuple[int, ...] = field(
        default=(1024, 1024, 1024), metadata={"help": "Units of the hidden layers, all ReLU; none = a linear gate."}
    )
    dropout: float = field(default=0.2, metadata={"help": "After every hidden layer, in training."})
    temperature: float = field(default=10.0, metadata={"help": "Divides what goes into the softmax over objectives."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Of AdamW at the beginning; falls to 0 as a cosine."})
    weight_decay: float = field(default=0.01, metadata={"help": "Of AdamW."})
    steps: int = field(default=2000, metadata={"help": "Updates, at most."})
    batch_size: int = field(default=1024, metadata={"help": "Rows per update."})
    held_out: float = field(
        default=0.2,
        metadata={
            "help": "Share of the prompts not learned from: half chooses when to stop, half judges; 0 = neither."
        },
    )
    check_every: int = field(default=25, metadata={"help": "Updates between two looks at the held-out loss."})
    patience: int = field(default=20, metadata={"help": "Looks without a better one, after which training ends."})
    seed: int = field(default=0, metadata={"help": "Of the weights, the split, the order of rows and dropout."})
    device: str = field(default="cpu", metadata={"help": "Where to train; the gate itself is on the CPU."})

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(not isinstance(units, int) or units < 1 for units in self.hidden):
            raise InputError(f"hidden must be positive whole numbers, found {list(self.hidden)}")
        for name in ("steps", "batch_size", "check_every", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("temperature", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be positive, found {value}")
        for name in ("dropout", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, found {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"weight_decay must not be negative, found {self.weight_decay}")
