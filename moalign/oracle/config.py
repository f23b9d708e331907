"""What an oracle world is made of; the same settings always make the same world."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives

LARGEST = 200_000


@dataclass(frozen=True)
class WorldConfig:
    """Settings of an `OracleWorld`.

    Args:
        vocabulary (`int`): choices per step, 2 to 26.
        length (`int`): steps; the world has `vocabulary ** length` completions.
        prompts (`int`): number of prompts, weighted equally.
        objectives (`tuple[str, ...]`): names of the objectives; each conflicts with the one before it.
        groups (`tuple[str, ...]`): names of the user groups, each with a reward of its own; at least two.
        shares (`tuple[float, ...]`, *optional*): each group's share of the users. By default the first has four fifths.
        safety (`str`): name of the negative cost.
        rare (`bool`): the last objective is the rare one.
        bound (`float`): every other reward stays within this many standard deviations.
        spread (`float`): standard deviation of the reference's logits; the entropy falls as it grows.
        words (`tuple[str, ...]`): text that gets a token of its own besides the names, for prompts that carry words.
        hidden, layers (`int`): size of the reference.
        seed (`int`): of everything.

    Raises:
        InputError: a setting is not possible.
    """

    vocabulary: int = 6
    length: int = 5
    prompts: int = 4
    objectives: tuple[str, ...] = ("helpful", "brief", "warm")
    groups: tuple[str, ...] = ("majority", "minority")
    shares: tuple[float, ...] | None = None
    safety: str = "harmless"
    rare: bool = False
    bound: float = 2.5
    spread: float = 0.8
    words: tuple[str, ...] = ()
    hidden: int = 64
    layers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("objectives", "groups", "words"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_objectives(self.names)
        if not 2 <= self.vocabulary <= 26:
            raise InputError(f"vocabulary must be from 2 to 26, found {self.vocabulary}")
        for name in ("length", "prompts", "layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.vocabulary**self.length > LARGEST:
            raise InputError(
                f"{self.vocabulary} tokens and length {self.length} make {self.vocabulary**self.length} completions, at most {LARGEST} can be listed"
            )
        if not self.spread >= 0:
            raise InputError(f"spread must not be negative, found {self.spread}")
        if not self.objectives:
            raise InputError("objectives is empty: name at least one")
        count = len(self.groups)
        if count < 2:
            raise InputError(f"groups must be at least two, found {count}")
        shares = self.shares or (0.8, *[0.2 / (count - 1)] * (count - 1))
        if len(shares) != count or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise InputError(f"shares must be {count} positive numbers with sum 1, found {shares}")
        object.__setattr__(self, "shares", tuple(float(share) for share in shares))

    @property
    def names(self) -> tuple[str, ...]:
        """All rewards: the objectives, the groups' and the negative cost."""
        return (*self.objectives, *self.groups, self.safety)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "WorldConfig":
        """Read what `to_json` wrote.

        Raises:
            InputError: an unknown setting, or one that is not possible.
        """
        allowed = [f.name for f in fields(cls)]
        for name in values:
            if name not in allowed:
                raise unknown_name("setting of an oracle world", name, allowed)
        settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**settings)
