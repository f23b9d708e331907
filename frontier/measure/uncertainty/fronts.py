"""Ask a measured front how sure it is. Everything here needs `front.prompt_rewards`, the rewards of every point on every prompt."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.uncertainty.bootstrap import bootstrap
from frontier.measure.uncertainty.certificate import Certificate, certify_rewards, holm
from frontier.measure.uncertainty.compare import Comparison, compare_rewards
from frontier.measure.uncertainty.estimate import Estimate
from frontier.measure.uncertainty.kernels import Indicator
from frontier.measure.uncertainty.probability import NonDominated, posterior_non_dominated

if TYPE_CHECKING:
    from frontier.front import ParetoFront
    from frontier.prompt_rewards import PromptRewards


def interval(
    front: "ParetoFront",
    indicator: str | Indicator = "hypervolume",
    *,
    reference_point: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    method: str = "extrapolated",
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A figure of a front with its interval (see `frontier.measure.uncertainty.bootstrap`).

    Args:
        front (`ParetoFront`): with `prompt_rewards`.
        indicator (`str` or callable, *optional*, defaults to `"hypervolume"`): or `"eum"`, `"mip"`, `"controllability_gap"`, or a function from `[n, K]` mean rewards to a
            number, such as `lambda points: steering(front.weights, points)[0]` (a rank jumps: give `method="percentile"` for it).
        reference_point (`ArrayLike`, *optional*): `[K]`, of a hypervolume. Default: `common_reference_point(front)`, taken as fixed.
        weights (`ArrayLike`, *optional*): `[W, K]`, of the EUM. Default, and always for the others: those that the points were steered to.
        level (`float`, *optional*, defaults to 0.95): of confidence.
        method (`str`, *optional*, defaults to `"extrapolated"`): as of `bootstrap`.
        resamples (`int`, *optional*, defaults to 2000): how often the prompts are redrawn.
        seed (`int`, *optional*, defaults to 0): the same seed redraws the same prompts.

    Raises:
        InputError: the front has no `prompt_rewards` or no weights where they are needed, or anything that `bootstrap` refuses.
    """
    rewards = _samples(front).rewards
    given = _steered(front, indicator, weights)
    found = bootstrap(
        rewards,
        indicator,
        reference_point=_place(indicator, reference_point, front),
        weights=given[0],
        served=given[1],
        level=level,
        method=method,
        resamples=resamples,
        seed=seed,
    )
    return replace(found, normalizer=front.normalizer)


def probability_non_dominated(front: "ParetoFront", *, resamples: int = 4000, seed: int = 0) -> NonDominated:
    """How likely each point of the front is to be non-dominated (see `frontier.measure.uncertainty.probability`).

    Raises:
        InputError: the front has no `prompt_rewards`, or too few prompts.
    """
    return posterior_non_dominated(_samples(front).rewards, resamples=resamples, seed=seed)


def compare(
    front_a: "ParetoFront",
    front_b: "ParetoFront",
    indicator: str | Indicator = "hypervolume",
    *,
    reference_point: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Whether front A beats front B on the same prompts (see `frontier.measure.uncertainty.compare`).

    An objective of a prompt that some point of either front does not know is left out for all of them.

    Args:
        front_a (`ParetoFront`): with `prompt_rewards`.
        front_b (`ParetoFront`): over the same objectives, normaliser and prompts (in any order).
        indicator (`str` or callable, *optional*, defaults to `"hypervolume"`): as of `interval`.
        reference_point (`ArrayLike`, *optional*): `[K]`. Default: `common_reference_point(front_a, front_b)`, taken as fixed.
        weights (`ArrayLike`, *optional*): `[W, K]`, of the EUM: the same users for both. Default: the weights that either front was steered to, each once.
        level (`float`, *optional*, defaults to 0.95): of confidence.
        resamples (`int`, *optional*, defaults to 2000): how often the prompts are redrawn.
        seed (`int`, *optional*, defaults to 0): the same seed redraws the same prompts.

    Raises:
        InputError: objectives, normalisers or prompts differ (the message counts the shared prompts), or anything that `compare_rewards` refuses.
    """
    a, b = _samples(front_a, "front A"), _samples(front_b, "front B")
    if front_a.objectives != front_b.objectives:
        raise InputError(
            f"fronts compare over the same objectives in the same order: found {', '.join(front_a.objectives)} and {', '.join(front_b.objectives)}"
        )
    if front_a.normalizer != front_b.normalizer:
        raise InputError(
            f"fronts with different normalisers don't compare, their units differ: found {front_a.normalizer} and {front_b.normalizer}"
        )
    shared = set(a.prompts) & set(b.prompts)
    if not len(shared) == len(a.prompts) == len(b.prompts):
        raise InputError(
            f"fronts compare on the same prompts: A was measured on {len(a.prompts)}, B on {len(b.prompts)}, and they share {len(shared)}; "
            "keep those alone with `prompt_rewards.align(shared)` and `ParetoFront.of_prompt_rewards`"
        )
    if indicator == "eum" and weights is None:
        users = np.concatenate([_steered(front, "eum", None)[0] for front in (front_a, front_b)])
        weights = np.unique(users, axis=0)
    (weights_a, served_a), (weights_b, served_b) = (_steered(f, indicator, weights) for f in (front_a, front_b))
    return compare_rewards(
        a.rewards,
        b.align(a.prompts).rewards,
        indicator,
        reference_point=_place(indicator, reference_point, front_a, front_b),
        weights_a=weights_a,
        weights_b=weights_b,
        served_a=served_a,
        served_b=served_b,
        level=level,
        resamples=resamples,
        seed=seed,
        objectives=front_a.objectives,
        normalizer=front_a.normalizer,
    )


def certify(
    front: "ParetoFront",
    point: int,
    minimum: Mapping[str, float],
    *,
    delta: float = 0.05,
    chosen_among: int | None = None,
    method: str | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> Certificate:
    """Certify that a point of the front keeps its constraints (see `frontier.measure.uncertainty.certificate`).

    Args:
        front (`ParetoFront`): with the `prompt_rewards` of prompts that trained no policy.
        point (`int`): its index.
        minimum (`Mapping[str, float]`): the least mean reward of each constrained objective.
        delta (`float`, *optional*, defaults to 0.05): the chance of a false pass.
        method (`str`, *optional*): as of `certify_rewards`.
        ranges (`Mapping[str, tuple[float, float]]`, *optional*): the smallest and largest possible reward by objective.
        seed (`int`, *optional*, defaults to 0): as of `certify_rewards`.
        chosen_among (`int`, *optional*): how many points could have been chosen by these prompts. Default: all points of the front; 1 if the point was chosen by other prompts.

    Raises:
        InputError: the front has no `prompt_rewards` or no such point, or anything that `certify_rewards` refuses.
    """
    rewards = _samples(front).rewards
    if not 0 <= point < len(rewards):
        raise InputError(f"the front has points 0 to {len(rewards) - 1}, found {point}")
    found = certify_rewards(
        rewards[point],
        minimum,
        front.objectives,
        delta=delta,
        chosen_among=len(rewards) if chosen_among is None else chosen_among,
        method=method,
        ranges=ranges,
        seed=seed,
    )
    return replace(found, point=point, normalizer=front.normalizer)


def certify_points(
    front: "ParetoFront",
    minimum: Mapping[str, float],
    *,
    delta: float = 0.05,
    method: str | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    seed: int = 0,
) -> tuple[Certificate, ...]:
    """Certificates for all points at once; any of those that passed may then be chosen, by whatever rule.

    The chance that any point passes falsely is at most delta (Holm over the points, which passes every point that the union bound of `certify` passes, and more).

    Args:
        front (`ParetoFront`): with the `prompt_rewards` of prompts that trained no policy.
        minimum (`Mapping[str, float]`): the least mean reward of each constrained objective.
        delta (`float`, *optional*, defaults to 0.05): the chance of a false pass.
        method (`str`, *optional*): as of `certify_rewards`.
        ranges (`Mapping[str, tuple[float, float]]`, *optional*): the smallest and largest possible reward by objective.
        seed (`int`, *optional*, defaults to 0): as of `certify_rewards`.

    Raises:
        InputError: the front has no `prompt_rewards`, or anything that `certify_rewards` refuses.
    """
    settings: dict[str, Any] = {"delta": delta, "method": method, "ranges": ranges, "seed": seed}
    found = [certify(front, i, minimum, **settings) for i in range(len(front.points))]
    passed = holm([certificate.p_value for certificate in found], delta)
    return tuple(replace(_held(c) if p else c, passed=p, correction="Holm") for c, p in zip(found, passed, strict=True))


def _held(certificate: Certificate) -> Certificate:
    """Holm's bounds of a point that passed reach the minimum, at a level that those of the point alone don't have."""
    return replace(certificate, bounds=tuple(replace(b, low=max(b.low, b.minimum)) for b in certificate.bounds))


def _samples(front: "ParetoFront", what: str = "the front") -> "PromptRewards":
    if front.prompt_rewards is None:
        raise InputError(
            f"{what} holds no rewards per prompt, and without them nothing is known of its sampling error beyond the points' own; "
            "measure it again, or make it with `ParetoFront.of_prompt_rewards`"
        )
    return front.prompt_rewards


def _place(
    indicator: str | Indicator, reference_point: ArrayLike | None, *fronts: "ParetoFront"
) -> NDArray[np.float64] | None:
    if indicator != "hypervolume":
        return None
    if reference_point is not None:
        return np.asarray(reference_point, dtype=np.float64)
    from frontier.front import common_reference_point  # the front imports this package, not the other way round

    return common_reference_point(*fronts)


def _steered(
    front: "ParetoFront", indicator: str | Indicator, weights: ArrayLike | None
) -> tuple[Any, NDArray[np.intp] | None]:
    """Weights, and the points that were steered to them."""
    if indicator == "eum" and weights is not None:
        return weights, None
    if indicator not in ("eum", "mip", "controllability_gap"):
        return None, None
    if weights is not None:
        raise InputError(f"{indicator} is over the weights that the points were steered to, and takes no others")
    own = front.weights
    served = np.flatnonzero(~np.isnan(own).any(axis=1))
    if len(served) == 0:
        raise InputError("no point of the front has weights in its preference, so this figure has no meaning here")
    return own[served], served
