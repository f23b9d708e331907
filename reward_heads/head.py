"""What one head was trained on, and so what its numbers mean."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.losses.ordinal import level_probabilities

PAIR_LOSSES = ("bradley_terry", "rao_kupper", "davidson")
RATING_LOSSES = ("squared", "huber", "ordinal", "binary")

_FIELDS = ("pairs", "tie", "ratings", "levels", "thresholds")


@dataclass(frozen=True)
class Head:
    r"""The losses that one head was trained with, and what they learned beside the weights.

    Args:
        pairs (`str`, *optional*): the pair loss, see `reward_heads.losses`; `None` = no pair was labelled for this objective. Score differences are log-odds.
        tie (`float`, *optional*): θ >= 1 of `rao_kupper` or ν >= 0 of `davidson`.
        ratings (`str`, *optional*): the rating loss; `None` = no rating. `squared`, `huber`: the score is the rating in the units of `reward.units`; `ordinal`: a latent log-odds scale;
            `binary`: the log-odds of a yes, so that 0 is the boundary (sign-aware).
        levels (`tuple[float, ...]`): of `ordinal`: the M ratings, ascending, in the data's units.
        thresholds (`tuple[float, ...]`): of `ordinal`: the M − 1 scores between them, ascending.

    Raises:
        InputError: a loss that does not exist, or values that do not fit it.
    """

    pairs: str | None = None
    tie: float | None = None
    ratings: str | None = None
    levels: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for field in ("levels", "thresholds"):
            object.__setattr__(self, field, tuple(float(value) for value in getattr(self, field)))
        for what, found, allowed in (
            ("pair_loss", self.pairs, PAIR_LOSSES),
            ("rating_loss", self.ratings, RATING_LOSSES),
        ):
            if found is not None and found not in allowed:
                raise unknown_name(what, str(found), allowed)
        self._check_tie()
        self._check_levels()

    @property
    def sign_aware(self) -> bool:
        """Whether 0 is the boundary between yes and no."""
        return self.ratings == "binary"

    def level_probabilities(self, scores: Tensor) -> Tensor:
        """`[...]` scores of an ordinal head to the `[..., M]` probabilities of its levels.

        Raises:
            InputError: the head isn't ordinal.
        """
        if self.ratings != "ordinal":
            raise InputError(f"only an ordinal head has levels; this one was trained on {self.ratings or 'no'} ratings")
        return level_probabilities(scores, torch.tensor(self.thresholds, dtype=torch.float64))

    def expected_rating(self, scores: Tensor) -> Tensor:
        """`[...]` scores to expected ratings in the data's units: the mean level, or the probability of a yes. NaN where only `reward.units` knows it, or nothing does."""
        if self.ratings == "ordinal":
            return self.level_probabilities(scores) @ scores.new_tensor(self.levels)
        return torch.sigmoid(scores) if self.sign_aware else torch.full_like(scores, math.nan)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`Head.from_json`] reads it back exactly."""
        return {
            "pairs": self.pairs,
            "tie": self.tie,
            "ratings": self.ratings,
            "levels": list(self.levels),
            "thresholds": list(self.thresholds),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Head":
        """Read what [`Head.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"a head must be an object with {', '.join(_FIELDS)}, found {data!r}")
        for field in data:
            if field not in _FIELDS:
                raise unknown_name("field of a head", field, _FIELDS)
        for field in _FIELDS:
            if field not in data:
                raise InputError(f"head: field '{field}' is missing; it needs {', '.join(_FIELDS)}")
        tie = None if data["tie"] is None else float(data["tie"])
        return cls(data["pairs"], tie, data["ratings"], tuple(data["levels"]), tuple(data["thresholds"]))

    def _check_tie(self) -> None:
        smallest = {"rao_kupper": 1.0, "davidson": 0.0}.get(self.pairs or "")
        if smallest is None:
            if self.tie is not None:
                raise InputError(f"a head with pair loss {self.pairs} has no tie parameter, found {self.tie}")
        elif self.tie is None or not (math.isfinite(self.tie) and self.tie >= smallest):
            raise InputError(f"the tie parameter of {self.pairs} must be at least {smallest:g}, found {self.tie}")

    def _check_levels(self) -> None:
        if self.ratings != "ordinal":
            if self.levels or self.thresholds:
                raise InputError("only an ordinal head has levels and thresholds")
            return
        if len(self.levels) < 2 or len(self.thresholds) != len(self.levels) - 1:
            raise InputError(
                f"an ordinal head needs M >= 2 levels and M - 1 thresholds, found {len(self.levels)} and {len(self.thresholds)}"
            )
        for what, values in (("levels", self.levels), ("thresholds", self.thresholds)):
            if not all(map(math.isfinite, values)) or list(values) != sorted(set(values)):
                raise InputError(f"{what} of an ordinal head must be finite and ascending, found {list(values)}")
