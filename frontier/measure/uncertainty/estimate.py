"""Say a number together with how well it is known, and with what it refers to."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from frontier.errors import InputError


@dataclass(frozen=True)
class Estimate:
    """A measured number with its confidence interval. Two of them compare only when reference point, normaliser and prompts agree.

    Args:
        value (`float`): the best single guess. It may lie off the plain figure where that is known to be biased (`method` says so).
        low (`float`), high (`float`): the interval, which contains the truth in a share `level` of repetitions with new prompts; -inf or inf where a side is open.
        level (`float`, *optional*, defaults to 0.95): of confidence, between 0 and 1.
        method (`str`): how the interval was made.
        n_prompts (`int`): how many prompts it rests on.
        reference_point (`tuple[float, ...]`, *optional*): `[K]`, of a hypervolume.
        normalizer (`dict`, *optional*): of the front; `None` for raw rewards.

    Raises:
        InputError: the ends are not in order or NaN, the level is not between 0 and 1, or there is no prompt.

    Example:
        >>> print(Estimate(0.8123, 0.7712, 0.8507, method="bootstrap", n_prompts=64))
        0.812 (95 % interval 0.771 to 0.851, 64 prompts)
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = field(kw_only=True)
    n_prompts: int = field(kw_only=True)
    reference_point: tuple[float, ...] | None = field(default=None, kw_only=True)
    normalizer: dict[str, Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if math.isnan(self.value) or not self.low <= self.high:
            raise InputError(
                f"an interval needs low <= high and a value, found {self.value}, {self.low} to {self.high}"
            )
        if not 0 < self.level < 1:
            raise InputError(f"the level of an interval must lie between 0 and 1, found {self.level}")
        if self.n_prompts < 1:
            raise InputError(f"an estimate needs at least one prompt, found {self.n_prompts}")

    def __contains__(self, number: float) -> bool:
        """Whether the interval contains the number."""
        return self.low <= number <= self.high

    def __str__(self) -> str:
        """For print, to three digits."""
        interval = f"{100 * self.level:.4g} % interval {self.low:.3g} to {self.high:.3g}"
        return f"{self.value:.3g} ({interval}, {self.n_prompts} prompts)"

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values; an open end is null."""
        found = asdict(self)
        for end in ("low", "high"):
            found[end] = found[end] if math.isfinite(found[end]) else None
        return found
