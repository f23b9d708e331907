"""Turn what a sweep measured into a front: rows of a preference and its rewards, or the rewards of every point on every prompt."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.costs import as_names, hint_at_costs, maximised
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from frontier.objectives import check_objectives
from frontier.prompt_rewards import PromptRewards, prompt_ids, prompt_means, prompt_standard_errors


def front_of_prompt_rewards(
    prompt_rewards: PromptRewards,
    preferences: Iterable[Any] | None = None,
    *,
    kl: Sequence[float | None] | None = None,
    sources: str | Sequence[str] = "",
    extras: Sequence[dict[str, Any]] | None = None,
    normalizer: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
) -> ParetoFront:
    """Means, standard errors and numbers of prompts of every point, with the samples attached.

    Args:
        prompt_rewards (`PromptRewards`): of P points; its reference, if there is one, becomes the front's reference policy.
        preferences (`Iterable`, *optional*): what each of the P points was asked for: `{"helpful": 0.7, "brief": 0.3}`, its JSON form `{"weights": {...}}`, a row
            of K weights (`[P, K]` as a whole), anything with a `to_json` such as moalign's `Preference`, or `None`.
        kl (`Sequence`, *optional*): mean KL divergence of each point to the reference policy, in nats per completion.
        sources (`str` or `Sequence[str]`): what produced the points, one text for all or one each.
        extras (`Sequence[dict]`, *optional*): anything else about each point.
        normalizer (`dict`, *optional*): what the rewards were divided by.
        info (`dict`, *optional*): of the front.

    Raises:
        InputError: as many preferences, divergences, sources or extras as there are not points, or an objective that is not known for any prompt of a point.

    Example:
        >>> samples = PromptRewards(("a", "b"), [[[1, 0], [3, 0]], [[0, 1], [0, 1]]], ("first", "second"))
        >>> front = front_of_prompt_rewards(samples, [{"a": 1}, {"b": 1}])
        >>> front.points[0].rewards, front.points[0].standard_error, front.points[0].n_prompts
        ((2.0, 0.0), (1.0, 0.0), 2)
    """
    names, count = prompt_rewards.objectives, prompt_rewards.n_points
    asked = _each("preferences", preferences, count)
    divergences = _each("kl", kl, count)
    produced = [sources] * count if isinstance(sources, str) else _each("sources", sources, count)
    more = _each("extras", extras, count)
    means, errors = prompt_rewards.means(), prompt_rewards.standard_errors()
    points = tuple(
        FrontPoint(
            _known(f"point {i}", means[i], names),
            tuple(errors[i].tolist()),
            _prompts_of(prompt_rewards.rewards[i]),
            as_preference(asked[i], names),
            divergences[i],
            produced[i],
            dict(more[i] or {}),
        )
        for i in range(count)
    )
    policy = None
    base = prompt_rewards.reference
    if base is not None:
        mean = _known("the reference policy", prompt_means(base), names)
        error = tuple(prompt_standard_errors(base).tolist())
        policy = FrontPoint(mean, error, _prompts_of(base), source="reference")
    return ParetoFront(names, points, policy, normalizer, dict(info or {}), prompt_rewards)


def front_of_sweep(
    objectives: Sequence[str],
    rows: Iterable[tuple[Any, Any]],
    *,
    prompts: Sequence[Any] | None = None,
    reference: ArrayLike | None = None,
    n_prompts: int = 1,
    minimize: str | Iterable[str] = (),
    source: str = "",
    normalizer: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
) -> ParetoFront:
    """A front from the rows that a loop over preferences collected.

    Args:
        objectives (`Sequence[str]`): the K names.
        rows (`Iterable`): pairs of a preference, in any form that `front_of_prompt_rewards` takes, and rewards: `[K]` means in the order of the objectives or by name, or
            `[N, K]` rewards on N prompts, the same prompts in all rows.
        prompts (`Sequence`): the N prompts, needed for `[N, K]` rewards: by them fronts of different runs are paired.
        reference (`ArrayLike`, *optional*): the reference policy's rewards, in the form of the rows'.
        n_prompts (`int`): how many prompts `[K]` means are over.
        minimize (`Iterable[str]`, or one name): objectives that are costs. They enter as their negative, which `info["minimized"]` records.
        source (`str`): what produced the points.
        normalizer (`dict`, *optional*): what the rewards were divided by.
        info (`dict`, *optional*): of the front.

    Raises:
        InputError: a row is no pair or its rewards have the wrong shape (the message names the row), `prompts` are missing or as many as there are not rewards.

    Example:
        >>> front = front_of_sweep(("helpful", "latency"), [({"helpful": 1}, (0.9, 30)), ({"latency": 1}, (0.4, 8))], minimize=("latency",))
        >>> front.rewards.tolist()
        [[0.9, -30.0], [0.4, -8.0]]
    """
    names = check_objectives(objectives)
    minimize = as_names(minimize)
    pairs = [_pair(i, row, names) for i, row in enumerate(rows)]
    if not pairs:
        raise InputError("a sweep needs at least one row of (preference, rewards), found none")
    shapes = sorted({array.shape for _, array in pairs})
    if len(shapes) > 1:
        raise InputError(
            f"all rows must have rewards of one shape, [{len(names)}] or [prompts, {len(names)}]; found {shapes}"
        )
    base = None if reference is None else _rewards("reference", reference, names)
    if base is not None and base.shape != shapes[0]:
        raise InputError(f"reference must have the shape of the rows, {shapes[0]}, found {base.shape}")
    values = maximised(np.stack([array for _, array in pairs]), names, minimize)
    base = None if base is None else maximised(base, names, minimize)
    info = dict(info or {}) | ({"minimized": list(minimize)} if minimize else {})
    if values.ndim == 3:
        if prompts is None or len(prompts) != values.shape[1]:
            found = "none" if prompts is None else str(len(prompts))
            raise InputError(
                f"rewards on {values.shape[1]} prompts need `prompts`, the {values.shape[1]} prompts in their order; found {found}"
            )
        samples = PromptRewards(names, values, prompt_ids(prompts), base)
        front = front_of_prompt_rewards(
            samples, [p for p, _ in pairs], sources=source, normalizer=normalizer, info=info
        )
    else:
        unknown = (np.nan,) * len(names)
        points = tuple(
            FrontPoint(tuple(v.tolist()), unknown, n_prompts, as_preference(p, names), source=source)
            for (p, _), v in zip(pairs, values, strict=True)
        )
        policy = None if base is None else FrontPoint(tuple(base.tolist()), unknown, n_prompts, source="reference")
        front = ParetoFront(names, points, policy, normalizer, info)
    hint_at_costs(front, minimize)
    return front


def as_preference(value: Any, objectives: Sequence[str]) -> dict[str, Any] | None:
    """The JSON form of a preference that is given as that, as weights by name or in order, or as an object with a `to_json`.

    Raises:
        InputError: it is none of these.
    """
    if value is None:
        return None
    if hasattr(value, "to_json"):
        return dict(value.to_json())
    if isinstance(value, Mapping):
        nested = any(isinstance(part, Mapping) for part in value.values())
        return dict(value) if nested else {"weights": {str(k): _number(v) for k, v in value.items()}}
    try:
        weights = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        weights = np.empty(0)
    if weights.shape != (len(objectives),):
        raise InputError(
            f"a preference must be weights by name ({{'{objectives[0]}': 1.0}}), {len(objectives)} weights in the order {', '.join(objectives)}, or None; found {value!r}"
        )
    return None if np.isnan(weights).all() else {"weights": dict(zip(objectives, weights.tolist(), strict=True))}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _pair(i: int, row: Any, names: tuple[str, ...]) -> tuple[Any, NDArray[np.float64]]:
    try:
        preference, rewards = row
    except (TypeError, ValueError):
        raise InputError(f"row {i} must be a pair of preference and rewards, found {row!r}") from None
    return preference, _rewards(f"row {i}", rewards, names)


def _rewards(where: str, rewards: Any, names: tuple[str, ...]) -> NDArray[np.float64]:
    if isinstance(rewards, Mapping):
        if set(rewards) != set(names):
            raise InputError(
                f"{where}: rewards must be of {', '.join(names)}, found {', '.join(map(str, rewards)) or 'none'}"
            )
        rewards = [rewards[name] for name in names]
    try:
        array = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: rewards must be numbers: {error}") from error
    if array.ndim not in (1, 2) or array.shape[-1] != len(names):
        raise InputError(
            f"{where}: rewards must have the shape [{len(names)}] ({', '.join(names)}) or [prompts, {len(names)}], found {list(array.shape)}"
        )
    return array


def _each(what: str, values: Iterable[Any] | None, count: int) -> list[Any]:
    found = [None] * count if values is None else list(values)
    if len(found) != count:
        raise InputError(f"{what} must hold one value per point: found {len(found)} for {count} points")
    return found


def _known(where: str, means: NDArray[np.float64], names: tuple[str, ...]) -> tuple[float, ...]:
    for name, value in zip(names, means, strict=True):
        if np.isnan(value):
            raise InputError(f"the reward of objective '{name}' is not known for any prompt of {where}")
    return tuple(means.tolist())


def _prompts_of(rewards: NDArray[np.float64]) -> int:
    """How many of the prompts have any reward."""
    return int((~np.isnan(rewards)).any(axis=1).sum())
