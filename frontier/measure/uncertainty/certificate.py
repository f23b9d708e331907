"""Certify that a point keeps its constraints, with a stated chance of being wrong, even when it was picked from many because it looked as if it did."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError, unknown_name
from frontier.measure.rows import whole_number
from frontier.measure.uncertainty import lower_bounds
from frontier.measure.uncertainty.samples import FEWEST_PROMPTS

METHODS = ("skewness", "betting", "t")
MOST_CHOICES = 10**9


@dataclass(frozen=True)
class Bound:
    """What held-out prompts say of one constraint.

    Args:
        objective (`str`), minimum (`float`): the constraint: the mean reward is at least the minimum.
        mean (`float`): over the known prompts.
        low (`float`): what the mean exceeds with confidence 1 - delta / chosen_among; of this constraint taken alone. At least the minimum where `certify_points` passes the point
            (Holm asks less of a point after each that passed); -inf where rewards that are all alike show no spread to judge by.
        p_value (`float`): the smallest delta / chosen_among at which it passes.
        method (`str`): `"skewness"`, `"betting"` or `"t"`.
        n_prompts (`int`): of which the objective is known.
    """

    objective: str
    minimum: float
    mean: float
    low: float
    p_value: float
    method: str
    n_prompts: int


@dataclass(frozen=True)
class Certificate:
    """Whether a point keeps all its constraints.

    Args:
        passed (`bool`): every constraint is certified.
        bounds (`tuple[Bound, ...]`): one per constraint.
        delta (`float`): the chance of a false pass is at most this.
        chosen_among (`int`): the number of points that could have been chosen by these prompts.
        correction (`str`): how the choice is paid for.
        point (`int`, *optional*): which one.
        normalizer (`dict`, *optional*): of the front; `None` for raw rewards.
    """

    passed: bool
    bounds: tuple[Bound, ...]
    delta: float
    chosen_among: int
    correction: str
    point: int | None = None
    normalizer: dict[str, object] | None = None

    @property
    def p_value(self) -> float:
        """The largest of the constraints', before the correction for choosing."""
        return max(bound.p_value for bound in self.bounds)

    @property
    def n_prompts(self) -> int:
        """The fewest prompts that a constraint rests on."""
        return min(bound.n_prompts for bound in self.bounds)

    def __str__(self) -> str:
        """In a line, for print."""
        parts = [
            f"{b.objective} {b.mean:.3g}, wanted {b.minimum:g}, rewards all alike: nothing is sure; give ranges"
            if b.low == -math.inf
            else f"{b.objective} {b.mean:.3g}, surely {b.low:.3g}, wanted {b.minimum:g}"
            for b in self.bounds
        ]
        verdict = "certified" if self.passed else "not certified"
        among = f", one of {self.chosen_among} points" if self.chosen_among > 1 else ""
        return f"{verdict} at delta {self.delta:g}{among}: {'; '.join(parts)}"


def certify_rewards(
    rewards: ArrayLike,
    minimum: Mapping[str, float],
    objectives: Sequence[str],
    *,
    delta: float = 0.05,
    chosen_among: int = 1,
    method: str | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> Certificate:
    r"""Test on held-out prompts that every constrained mean reward is at least its minimum (after HC-RLHF, [Chittepu et al., 2025](https://arxiv.org/abs/2506.08266)).

    It passes when each lower bound at confidence $1 - \delta / m$ reaches its minimum, m being the number of points that could have been chosen by looking at these
    prompts (union bound). Several constraints need no further correction: a point that breaks one passes only if that one passes falsely
    (intersection-union test). For every point at once use `certify_points`.

    Args:
        rewards (`ArrayLike`): `[N, K]`, maximised, one row a prompt that did not train the policy; NaN = not known, left out of that objective.
        minimum (`Mapping[str, float]`): the least mean reward of each constrained objective. A cost enters as its negative.
        objectives (`Sequence[str]`): K names.
        delta (`float`, *optional*, defaults to 0.05): the chance of a false pass, above 0 and below 0.5.
        chosen_among (`int`, *optional*, defaults to 1): m; 1 where the point was chosen without these prompts.
        method (`str`, *optional*): `"betting"` needs the range of the rewards and assumes nothing else; `"skewness"` assumes that the prompts show how skewed the rewards are;
            `"t"` assumes normal means (see `frontier.measure.uncertainty.lower_bounds`). Default: `"betting"` for objectives with a range, else `"skewness"`.
        ranges (`Mapping[str, tuple[float, float]]`, *optional*): the smallest and largest *possible* reward by objective.
        seed (`int`, *optional*, defaults to 0): of the order in which `"betting"` takes the prompts.

    Raises:
        InputError: an unknown name, no constraint, a number out of range, fewer than 10 prompts, or a reward outside its range.

    Example:
        >>> rewards = np.random.default_rng(0).uniform(0.0, 1.0, (200, 1))
        >>> certificate = certify_rewards(rewards, {"safe": 0.4}, ["safe"], ranges={"safe": (0, 1)})
        >>> certificate.passed, certificate.bounds[0].method
        (True, 'betting')
    """
    given = ranges or {}
    _check(minimum, given, objectives, delta, chosen_among, method)
    whole_number(seed, "seed", 0)
    try:
        table = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"rewards must be a table of numbers [N prompts, K objectives]: {error}") from error
    if table.ndim != 2 or table.shape[1] != len(objectives):
        raise InputError(
            f"rewards must be a table [N prompts, {len(objectives)} objectives], found {list(table.shape)}"
        )
    bounds = []
    for name, least in minimum.items():
        column = table[:, list(objectives).index(name)]
        known = column[~np.isnan(column)]
        if len(known) < FEWEST_PROMPTS or np.isinf(known).any():
            found = f"{len(known)} prompts" if len(known) < FEWEST_PROMPTS else "an infinite reward"
            raise InputError(f"a certificate of '{name}' needs at least {FEWEST_PROMPTS} finite rewards, found {found}")
        span = _span(name, given[name]) if name in given else None
        bounds.append(_bound(name, float(least), known, delta / chosen_among, method, span, seed))
    passed = all(bound.p_value <= delta / chosen_among for bound in bounds)
    correction = "none" if chosen_among == 1 else "union bound"
    return Certificate(passed, tuple(bounds), delta, chosen_among, correction)


def holm(p_values: Sequence[float], delta: float) -> list[bool]:
    """Which hypotheses fall when the chance of felling any true one is at most delta ([Holm, 1979](https://www.jstor.org/stable/4615733)).

    Args:
        p_values (`Sequence[float]`): one per hypothesis, however dependent.
        delta (`float`): for all together.

    Example:
        >>> holm([0.02, 0.04, 0.01], 0.05)
        [True, True, True]
    """
    fallen = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > delta / (len(p_values) - rank):
            break
        fallen[i] = True
    return fallen


def _bound(
    name: str,
    least: float,
    values: NDArray[np.float64],
    delta: float,
    method: str | None,
    span: tuple[float, float] | None,
    seed: int,
) -> Bound:
    method = method or ("skewness" if span is None else "betting")
    if span is not None:
        lower_bounds.check_span(span, values)
    if method == "betting":
        if span is None:
            raise InputError(f"method 'betting' needs the range of '{name}': its smallest and largest possible reward")
        low = lower_bounds.betting_bound(values, delta, span, seed)
        p_value = lower_bounds.betting_p_value(values, least, delta, span, seed)
        low = max(low, least) if p_value <= delta else low  # the bound is found on a grid, the p-value is not
    elif method == "t":
        low, p_value = lower_bounds.t_bound(values, delta), lower_bounds.t_p_value(values, least)
    else:
        low, p_value = lower_bounds.skewness_bound(values, delta), lower_bounds.skewness_p_value(values, least)
    return Bound(name, least, float(values.mean()), low, p_value, method, len(values))


def _check(
    minimum: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    objectives: Sequence[str],
    delta: float,
    chosen_among: int,
    method: str | None,
) -> None:
    if not minimum:
        raise InputError("a certificate needs at least one constraint: minimum={'objective': least mean reward}")
    for name in (*minimum, *ranges):
        if name not in objectives:
            raise unknown_name("objective", name, objectives)
    for name, least in minimum.items():
        _finite(f"the minimum of {name}", least)
    for name, span in ranges.items():
        _span(name, span)
    if not 0 < _finite("delta", delta) < 0.5:
        raise InputError(f"delta must be above 0 and below 0.5, found {delta}")
    if whole_number(chosen_among, "chosen_among", 1) > MOST_CHOICES:
        raise InputError(f"chosen_among must be at most {MOST_CHOICES}, found {chosen_among}")
    if method is not None and method not in METHODS:
        raise unknown_name("method", method, METHODS)


def _finite(what: str, value: object) -> float:
    try:
        if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError as error:
        raise InputError(f"{what} must be a finite number, found one that is too large") from error
    raise InputError(f"{what} must be a finite number, found {value!r}")


def _span(name: str, span: object) -> tuple[float, float]:
    if not isinstance(span, Sequence | np.ndarray) or isinstance(span, str) or len(span) != 2:
        raise InputError(f"the range of {name} must be its smallest and largest possible reward, found {span!r}")
    return _finite(f"the range of {name}", span[0]), _finite(f"the range of {name}", span[1])
