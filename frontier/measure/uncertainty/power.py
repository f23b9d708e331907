"""Say how many more prompts it takes to decide between two fronts, before paying for them."""

import math
from dataclasses import dataclass

from frontier.errors import InputError
from frontier.measure.uncertainty.compare import Comparison


@dataclass(frozen=True)
class PromptsNeeded:
    """How many prompts a decision takes.

    Args:
        more (`float`): prompts beyond those measured, a whole number; 0 when it is decided; inf when the assumed difference is 0.
        total (`float`): all of them.
        effect (`float`): the assumed true difference.
        standard_deviation (`float`): of the paired difference, per prompt.
        power (`float`), level (`float`): the chance to decide, and the confidence with which.
        decided (`bool`): whether the prompts at hand decide already.
    """

    more: float
    total: float
    effect: float
    standard_deviation: float
    power: float
    level: float
    decided: bool

    @property
    def assumptions(self) -> str:
        """What the number rests on, in a sentence."""
        if self.decided:
            return f"Decided at level {self.level:g} with the prompts at hand."
        return (
            f"If the true difference is {self.effect:.3g}, its standard deviation per prompt stays {self.standard_deviation:.3g} and new prompts are drawn as the "
            f"old ones were, {self.total:g} prompts decide with probability {self.power:g} at level {self.level:g}."
        )


def prompts_needed(comparison: Comparison, *, power: float = 0.8, effect: float | None = None) -> PromptsNeeded:
    r"""The number of prompts with which the difference of two fronts would be decided.

    The smallest n with $\sqrt n\, |d| / s \ge t_{1 - \alpha/2,\, n - 1} + z_{power}$, where d is the difference, s the paired standard deviation per prompt and
    $1 - \alpha$ the level of the comparison. It counts *all* prompts: judge once, when they are there; looking after every few and stopping at the first verdict would decide
    wrongly more often than $\alpha$.

    Args:
        comparison (`Comparison`): of the prompts at hand.
        power (`float`, *optional*, defaults to 0.8): the wished chance to decide, at least 0.5.
        effect (`float`, *optional*): the true difference to assume, such as the smallest that matters, in units of the indicator; its sign is ignored. Default: the measured one, which is itself
            uncertain: where it is larger than the truth by chance, the number comes out too small.

    Raises:
        InputError: a power outside 0.5 to 1, or an effect that is not finite.
    """
    if not 0.5 <= power < 1:
        raise InputError(f"power must be at least 0.5 and below 1, found {power}")
    if effect is not None and not math.isfinite(effect):
        raise InputError(f"effect must be finite, found {effect}")
    have, level = comparison.difference.n_prompts, comparison.difference.level
    assumed = abs(comparison.difference.value if effect is None else effect)
    decided = comparison.verdict != "not decided"
    total: float = have if decided else max(have, _total(assumed, comparison.standard_deviation, power, level))
    return PromptsNeeded(total - have, total, assumed, comparison.standard_deviation, power, level, decided)


def _total(effect: float, deviation: float, power: float, level: float) -> float:
    from scipy.special import ndtri, stdtrit

    if effect == 0:
        return math.inf
    ratio = deviation / effect
    n = max(2, math.ceil((ratio * (ndtri((1 + level) / 2) + ndtri(power))) ** 2))
    # Student's t is wider than the normal that n starts from, by less and less as n grows.
    while math.sqrt(n) < ratio * (stdtrit(n - 1, (1 + level) / 2) + ndtri(power)):
        n += 1
    return float(n)
