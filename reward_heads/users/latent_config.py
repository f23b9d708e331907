"""The settings of the variational latent."""

import math
from dataclasses import dataclass, field

from frontier.errors import InputError


@dataclass(frozen=True)
class LatentConfig:
    """Settings of [`fit_latent_users`].

    Raises:
        InputError: a value is not possible; names the field and what is allowed.
    """

    dims: int = field(
        default=4, metadata={"help": "Latent tastes to try; those that held-out pairs don't ask for are dropped."}
    )
    shared: bool = field(
        default=True,
        metadata={"help": "Give everybody a weight, 1 on average, on what all users have in common."},
    )
    least_spread: float = field(
        default=0.5,
        metadata={
            "help": "Smallest standard deviation of that weight; at 0 nobody could ever turn out to want the contrary."
        },
    )
    kl_weight: float = field(default=1.0, metadata={"help": "Weight of the divergence from the prior; 1 is the ELBO."})
    warmup: float = field(
        default=0.0, metadata={"help": "Share of the steps in which that weight rises from 0 to its value."}
    )
    refine: int = field(
        default=6, metadata={"help": "Steps towards the best Gaussian after the encoder, in training and in use."}
    )
    hidden: int = field(default=16, metadata={"help": "Units of the pair encoder's hidden layer."})
    held_out: float = field(
        default=0.2,
        metadata={
            "help": "Share of each user's pairs that is kept apart to choose the number of tastes; then all count."
        },
    )
    standard_errors: float = field(
        default=2.0,  # at 1, three of ten populations in which nobody differs were given a taste
        metadata={
            "help": "Keep the fewest tastes whose held-out likelihood is within so many standard errors of the best."
        },
    )
    ridge: float = field(
        default=1.0, metadata={"help": "Pulls all directions to 0; 1 expects differences of about a nat."}
    )
    steps: int = field(default=150, metadata={"help": "Updates of Adam."})
    learning_rate: float = field(default=0.15, metadata={"help": "At the beginning; falls to 0 as a cosine."})
    batch_size: int = field(default=4096, metadata={"help": "About so many pairs per update, of whole users."})
    seed: int = field(default=0, metadata={"help": "Of the split, the network and the order of users."})

    def __post_init__(self) -> None:
        for name in ("dims", "hidden", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.refine < 0:
            raise InputError(f"refine must not be negative, found {self.refine}")
        for name in ("least_spread", "kl_weight", "ridge", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                why = ": without it there is no posterior, only a point" if name == "kl_weight" else ""
                raise InputError(f"{name} must be positive, found {value}{why}")
        if not self.standard_errors >= 0:
            raise InputError(f"standard_errors must not be negative, found {self.standard_errors}")
        for name in ("warmup", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, found {getattr(self, name)}")
