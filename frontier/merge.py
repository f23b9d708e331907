"""Put fronts together and take them apart, the samples of every point along with it."""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from frontier.costs import as_names
from frontier.errors import InputError, unknown_name
from frontier.front import FrontPoint, ParetoFront
from frontier.points import as_indices
from frontier.prompt_rewards import PromptRewards


def merge(
    fronts: Sequence[ParetoFront] | Mapping[str, ParetoFront], labels: Sequence[str] | None = None
) -> ParetoFront:
    """One front of the points of several, in their order.

    A point that was measured once and stands in two of them (the same in everything but its `source`, on every prompt too) is kept once, the first time. The reference policy is that
    of the first front that has one.

    Args:
        fronts (`Sequence[ParetoFront]` or `Mapping[str, ParetoFront]`): over the same objectives in the same order and with the same normaliser.
        labels (`Sequence[str]`, *optional*): a name for each front, which goes before the `source` of its points; the keys of a mapping by default.

    Returns:
        `ParetoFront`: its per-prompt rewards are there when all fronts have them on the same prompts, in whatever order. Otherwise they are dropped, and `info["notes"]` says why.
        `info` holds what all agree on, and `info["merged"]` the label and the info of each front.

    Raises:
        InputError: no front, objectives or normalisers that differ, or as many labels as there are not fronts.
    """
    names = list(labels) if labels is not None else list(fronts) if isinstance(fronts, Mapping) else None
    parts = list(fronts.values()) if isinstance(fronts, Mapping) else list(fronts)
    check_comparable(parts)
    if names is not None and len(names) != len(parts):
        raise InputError(f"labels must hold one name per front: found {len(names)} for {len(parts)} fronts")
    shown = names if names is not None else [f"front {i}" for i in range(len(parts))]
    first_with = next((i for i, part in enumerate(parts) if part.reference_policy is not None), 0)
    notes = []
    policies = {part.reference_policy.rewards for part in parts if part.reference_policy is not None}
    if len(policies) > 1:
        notes.append(f"the reference policies differ; that of {shown[first_with]} was kept")
    samples, why = _joined_samples(parts, shown, first_with)
    if why:
        notes.append(why)
    held: set[Any] = set()  # by the parts before
    at: list[int] = []
    points: list[FrontPoint] = []
    for n, part in enumerate(parts):
        measured = _measurements(part)
        at += [len(points) + i for i, each in enumerate(measured) if each not in held]
        held.update(measured)
        points += [point if names is None else _labelled(point, names[n]) for point in part.points]
    merged = [{"label": shown[n], "points": len(part.points), "info": part.info} for n, part in enumerate(parts)]
    # What all agree on goes on to hold for the whole, such as which objectives were negated.
    shared = {k: v for k, v in parts[0].info.items() if all(k in part.info and part.info[k] == v for part in parts)}
    info: dict[str, Any] = shared | {"merged": merged} | ({"notes": notes} if notes else {})
    return ParetoFront(
        parts[0].objectives,
        tuple(points[i] for i in at),
        parts[first_with].reference_policy,
        parts[0].normalizer,
        info,
        None if samples is None else samples.take(at),
    )


def check_comparable(fronts: Sequence[ParetoFront], labels: Sequence[str] | None = None) -> None:
    """Refuse fronts whose numbers have different units.

    Raises:
        InputError: no front, or the objectives, their order or the normalisers differ.
    """
    if not fronts:
        raise InputError("there is no front, expected at least one")
    shown = list(labels) if labels is not None else [f"front {i}" for i in range(len(fronts))]
    first = fronts[0]
    for label, front in zip(shown[1:], fronts[1:], strict=True):
        if front.objectives != first.objectives:
            raise InputError(
                f"fronts compare only over the same objectives in the same order: found {', '.join(first.objectives)} ({shown[0]}) and "
                f"{', '.join(front.objectives)} ({label})"
            )
        if front.normalizer != first.normalizer:
            raise InputError(
                f"fronts compare only in the same unit, and the normalisers of {shown[0]} and {label} differ: {_difference(first.normalizer, front.normalizer)}. "
                "Measure both with one normaliser (`moalign front BUNDLE --compare OTHER` does), or both raw"
            )
        if (costs := _minimized(front)) != _minimized(first):
            raise InputError(
                f"fronts compare only with the same signs: {shown[0]} negated {sorted(_minimized(first)) or 'nothing'}, {label} {sorted(costs) or 'nothing'}"
            )


def take(front: ParetoFront, points: Iterable[int]) -> ParetoFront:
    """See `ParetoFront.take`."""
    at = as_indices(points, len(front.points))
    if not at or len(set(at)) < len(at):
        raise InputError(f"points must hold at least one index, each once; found {at}")
    samples = None if front.prompt_rewards is None else front.prompt_rewards.take(at)
    return dataclasses.replace(front, points=tuple(front.points[i] for i in at), prompt_rewards=samples)


def filter_points(
    front: ParetoFront,
    predicate: Callable[[FrontPoint], bool] | None,
    minimum: Mapping[str, float],
    maximum: Mapping[str, float],
    source: str | Collection[str] | None,
) -> ParetoFront:
    """See `ParetoFront.filter`."""
    sources = {source} if isinstance(source, str) else None if source is None else set(source)
    for name in sorted(sources or ()):
        if name not in {p.source for p in front.points}:
            raise unknown_name("source", name, dict.fromkeys(p.source for p in front.points))
    for bounds in (minimum, maximum):
        for name, bound in bounds.items():
            if name not in front.objectives:
                raise unknown_name("objective", name, front.objectives)
            if isinstance(bound, bool | str) or not math.isfinite(bound):
                raise InputError(f"the bound of {name} must be a finite number, found {bound!r}")
    rewards = front.rewards
    keep = np.ones(len(rewards), dtype=bool)
    for name, bound in minimum.items():
        keep &= rewards[:, front.objectives.index(name)] >= bound
    for name, bound in maximum.items():
        keep &= rewards[:, front.objectives.index(name)] <= bound
    if sources is not None:
        keep &= np.array([p.source in sources for p in front.points])
    if predicate is not None:
        keep &= np.array([bool(predicate(p)) for p in front.points])
    if not keep.any():
        raise InputError(f"no point of the front is left: none of the {len(keep)} satisfies all conditions")
    return take(front, np.flatnonzero(keep).tolist())


def _joined_samples(
    parts: Sequence[ParetoFront], shown: Sequence[str], first_with: int
) -> tuple[PromptRewards | None, str | None]:
    """The per-prompt rewards of all points together, or why they can't be."""
    held = [part.prompt_rewards for part in parts]
    if all(samples is None for samples in held):
        return None, None
    known = [samples for samples in held if samples is not None]
    if len(known) < len(held):
        without = ", ".join(label for label, samples in zip(shown, held, strict=True) if samples is None)
        return None, f"per-prompt rewards dropped: {without} has none"
    ids = known[0].prompts
    for label, samples in zip(shown, known, strict=True):
        if set(samples.prompts) != set(ids):
            shared = len(set(samples.prompts) & set(ids))
            return None, f"per-prompt rewards dropped: {shown[0]} and {label} share {shared} of {len(ids)} prompts"
    lined_up = [samples.align(ids) for samples in known]
    rewards = np.concatenate([samples.rewards for samples in lined_up])
    return PromptRewards(parts[0].objectives, rewards, ids, lined_up[first_with].reference), None


def _measurements(front: ParetoFront) -> list[Any]:
    """What tells the measurement of each point from any other; NaN is made equal to NaN, and the order of prompts makes no difference."""
    samples: list[Any] = [None] * len(front.points)
    if front.prompt_rewards is not None:
        lined_up = front.prompt_rewards.align(sorted(front.prompt_rewards.prompts))
        values = np.where(np.isnan(lined_up.rewards), np.nan, lined_up.rewards + 0.0)  # -0 is 0
        samples = [(lined_up.prompts, row.tobytes()) for row in values]
    return [
        (
            point.rewards,
            tuple(None if math.isnan(s) else s for s in point.standard_error),
            point.n_prompts,
            point.kl,
            repr((_sorted(point.preference), _sorted(point.extra))),
            sample,
        )
        for point, sample in zip(front.points, samples, strict=True)
    ]


def _sorted(value: Any) -> Any:
    return sorted((k, _sorted(v)) for k, v in value.items()) if isinstance(value, Mapping) else value


def _labelled(point: FrontPoint, label: str) -> FrontPoint:
    return dataclasses.replace(point, source=f"{label}: {point.source}" if point.source else label)


def _minimized(front: ParetoFront) -> set[str]:
    return set(as_names(front.info.get("minimized") or ()))


def _difference(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    if one is None or other is None:
        return "one has none, its rewards are raw"
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            return f"{key} is {one.get(key)!r} and {other.get(key)!r}"
    return "they are unequal"
