"""Make rules out of rules: change the sign or the scale, cut off, ask for a band, add up, fill in.

The results are rules like any other, compare equal when they do the same, and print what they do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frontier.errors import InputError
from reward_heads.rules.text import Rule


@dataclass(frozen=True)
class Scaled:
    """`factor · rule + offset`; `None` stays `None`.

    Args:
        rule (`Rule`): what is scaled.
        factor (`float`): finite; negative turns a cost into a reward.
        offset (`float`, *optional*, defaults to 0): finite, added after scaling.

    Raises:
        InputError: `rule` is not callable, or a number is not finite.
    """

    rule: Rule
    factor: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        _check_finite(factor=self.factor, offset=self.offset)

    def __call__(self, prompt: str, completion: str) -> float | None:
        """The scaled score."""
        value = self.rule(prompt, completion)
        return None if value is None else self.factor * value + self.offset


@dataclass(frozen=True)
class Clipped:
    """The rule's score, but never below `low` or above `high`; `None` stays `None`.

    Args:
        rule (`Rule`): what is clipped.
        low (`float`, *optional*): by default without a lower bound.
        high (`float`, *optional*): by default without an upper bound.

    Raises:
        InputError: `rule` is not callable, `low` is above `high`, or a bound is NaN.
    """

    rule: Rule
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        if not self.low <= self.high:
            raise InputError(f"low must not be above high, found {self.low} and {self.high}")

    def __call__(self, prompt: str, completion: str) -> float | None:
        """The clipped score."""
        value = self.rule(prompt, completion)
        return None if value is None else min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Band:
    """Minus how far the rule's score lies outside of [low, high], in the rule's unit: 0 inside, so 0 is best. `low = high` makes a target.

    Args:
        rule (`Rule`): what is held in the band, for example a length.
        low (`float`): the lower end.
        high (`float`): the upper end.

    Raises:
        InputError: `rule` is not callable, `low` is above `high`, or one is NaN.

    Example:
        >>> from reward_heads.rules import word_count
        >>> [Band(word_count, 2, 3)("", text) for text in ("One.", "One two.", "One two three four five.")]
        [-1.0, 0.0, -2.0]
    """

    rule: Rule
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        if not self.low <= self.high:
            raise InputError(f"low must not be above high, found {self.low} and {self.high}")

    def __call__(self, prompt: str, completion: str) -> float | None:
        """0.0 or minus the distance; `None` stays `None`."""
        value = self.rule(prompt, completion)
        return None if value is None else 0.0 - max(self.low - value, value - self.high, 0.0)


@dataclass(frozen=True)
class WeightedSum:
    """Several rules as one number; `None` if one of them is.

    Steering between objectives needs them apart: add up only what belongs to one objective.

    Args:
        parts (`Sequence[tuple[float, Rule]]`): weight and rule.

    Raises:
        InputError: no part, a weight that is not finite, or a rule that is not callable.
    """

    parts: Sequence[tuple[float, Rule]]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("a weighted sum needs at least one (weight, rule), found none")
        for weight, rule in self.parts:
            _check_rule(rule)
            _check_finite(weight=weight)

    def __call__(self, prompt: str, completion: str) -> float | None:
        """The sum."""
        total = 0.0
        for weight, rule in self.parts:
            value = rule(prompt, completion)
            if value is None:
                return None
            total += weight * value
        return total


@dataclass(frozen=True)
class Otherwise:
    """The rule's score, or `value` where it has none: saying nothing must not be a way out of a penalty.

    Args:
        rule (`Rule`): may return `None`.
        value (`float`): finite, the score instead of `None`.

    Raises:
        InputError: `rule` is not callable, or `value` is not finite.
    """

    rule: Rule
    value: float

    def __post_init__(self) -> None:
        _check_rule(self.rule)
        _check_finite(value=self.value)

    def __call__(self, prompt: str, completion: str) -> float:
        """The score, never `None`."""
        found = self.rule(prompt, completion)
        return self.value if found is None else found


def minus(rule: Rule) -> Rule:
    """The rule with its sign changed: a cost as a reward. `None` stays `None`.

    Example:
        >>> from reward_heads.rules import sentence_length
        >>> minus(sentence_length)("", "One two. Three four.")
        -2.0
    """
    return Scaled(rule, -1.0)


def _check_rule(rule: object) -> None:
    if not callable(rule):
        raise InputError(f"a rule must be a function of (prompt, completion), found {rule!r}")


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f"{name} must be finite, found {value}")
