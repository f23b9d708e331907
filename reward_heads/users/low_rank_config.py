"""The settings of low-rank user models."""

import math
from dataclasses import dataclass, field

from frontier.errors import InputError, unknown_name

TEMPERATURES = ("user", "shared")


@dataclass(frozen=True)
class LowRankConfig:
    """Settings of [`fit_low_rank_users`] and [`fit_objective_users`], and of their counterparts for texts.

    Raises:
        InputError: a value is not possible; names the field and what is allowed.
    """

    max_rank: int = field(default=4, metadata={"help": "Try 1, 2, ... up to so many bases; 1 is one taste for all."})
    rank: int | None = field(default=None, metadata={"help": "Exactly so many bases, instead of choosing the number."})
    temperature: str = field(
        default="user",
        metadata={
            "help": "With known objectives: how decided a user is, for each 'user' or 'shared' by all. Unknown bases have it in their scale.",
            "choices": list(TEMPERATURES),
        },
    )
    held_out: float = field(
        default=0.2,
        metadata={"help": "Share of each user's pairs that is kept apart to choose the rank; then all count."},
    )
    standard_errors: float = field(
        default=1.0,
        metadata={
            "help": "Take the fewest bases whose held-out likelihood is within so many standard errors of the best."
        },
    )
    ridge: float | None = field(
        default=None,
        metadata={
            "help": "Pulls the bases to the pooled taste: 1 expects differences of about a nat; by default the pairs tell."
        },
    )
    restarts: int = field(default=4, metadata={"help": "How many times the search for bases starts anew."})
    rounds: int = field(default=20, metadata={"help": "Rounds of expectation-maximisation for population and bases."})
    draws: int = field(default=256, metadata={"help": "Draws of each user's weights in every round."})
    samples: int = field(default=2000, metadata={"help": "Draws of a user's posterior that the model gives out."})
    seed: int = field(default=0, metadata={"help": "Of the split, the starts and all draws."})

    def __post_init__(self) -> None:
        if self.temperature not in TEMPERATURES:
            raise unknown_name("temperature", str(self.temperature), TEMPERATURES)
        for name in ("max_rank", "rank", "restarts", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        for name in ("draws", "samples"):
            if getattr(self, name) < 16:
                raise InputError(f"{name} must be at least 16, found {getattr(self, name)}")
        if self.ridge is not None and not (math.isfinite(self.ridge) and self.ridge > 0):
            raise InputError(f"ridge must be positive, found {self.ridge}")
        if not self.standard_errors >= 0:
            raise InputError(f"standard_errors must not be negative, found {self.standard_errors}")
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out must be at least 0 and below 1, found {self.held_out}")
        if self.held_out == 0 and self.rank is None:
            raise InputError("held_out is 0, but the rank is chosen on held-out pairs: give rank, or hold some out")

    @property
    def candidates(self) -> tuple[int, ...]:
        """The ranks to try."""
        return (self.rank,) if self.rank is not None else tuple(range(1, self.max_rank + 1))
