"""Lay fronts side by side: every figure above one reference point and over the same weights, with intervals, and the test whether the first beats the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier import measure
from frontier.errors import InputError, unknown_name
from frontier.front import ParetoFront, common_reference_point
from frontier.measure.dominance import as_points
from frontier.merge import check_comparable
from frontier.prompt_rewards import PromptRewards

if TYPE_CHECKING:
    from frontier.measure.uncertainty import Comparison, Estimate, PromptsNeeded

RESAMPLES = 2000
# Of more than 100 points 2000 redraws take minutes and gigabytes (the time of EUM grows with points times weights), and 500 give two digits of an interval.
MANY_POINTS, RESAMPLES_OF_MANY = 100, 500
# By number of objectives, the most points of which 2000 redraws take seconds; up to four objectives any number.
MOST_POINTS, MOST_POINTS_BEYOND = {5: 128, 6: 56}, 24
LOWER_IS_BETTER = ("controllability_gap",)
TITLES = {"eum": "EUM", "mip": "MIP", "controllability_gap": "EUM - MIP"}


@dataclass(frozen=True)
class Test:
    """Whether the first front beats another by a figure, on the prompts that both answered.

    Args:
        comparison (`Comparison`): the paired difference, first minus other, with its interval and p-value.
        needed (`PromptsNeeded`): how many prompts would decide.
        verdict (`str`): the label of the better front, or `"not decided"`.
    """

    __test__ = False  # not for pytest

    comparison: "Comparison"
    needed: "PromptsNeeded"
    verdict: str


@dataclass(frozen=True)
class Figure:
    """One figure of every front.

    Args:
        name (`str`): `"hypervolume"`, `"eum"`, `"mip"`, `"controllability_gap"` (lower is better) or `"steering.NAME"`.
        values (`dict[str, float]`): by label, of the mean rewards as measured; NaN = not known.
        estimates (`dict[str, Estimate]`): by label, with intervals, where a front has per-prompt rewards on enough prompts.
        tests (`dict[str, Test]`): by label of the other front, against the first.
    """

    name: str
    values: dict[str, float]
    estimates: "dict[str, Estimate]"
    tests: dict[str, Test]

    @property
    def title(self) -> str:
        """As it reads in a table."""
        return f"steering {self.name[9:]}" if self.name.startswith("steering.") else TITLES.get(self.name, self.name)


@dataclass(frozen=True)
class FrontComparison:
    """Fronts side by side.

    Args:
        labels (`tuple[str, ...]`): of the fronts, the first being the one that is tested.
        objectives (`tuple[str, ...]`): of all.
        reference_point (`tuple[float, ...]`): `[K]`, of every hypervolume.
        normalizer (`dict`, *optional*): of all.
        figures (`tuple[Figure, ...]`): the rows of the table.
        notes (`tuple[str, ...]`): what could not be had, and why.
    """

    labels: tuple[str, ...]
    objectives: tuple[str, ...]
    reference_point: tuple[float, ...]
    normalizer: dict[str, Any] | None
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Figure:
        """The figure of that name.

        Raises:
            InputError: there is none.
        """
        found = {figure.name: figure for figure in self.figures}
        if name not in found:
            raise unknown_name("figure", name, found)
        return found[name]

    def table(self) -> str:
        """An aligned text table, then the verdicts and what could not be had."""
        from frontier.compare_text import comparison_text

        return comparison_text(self)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; what is not known is null."""
        from frontier.compare_text import comparison_json

        return comparison_json(self)


def compare_fronts(
    fronts: Mapping[str, ParetoFront],
    *,
    reference_point: ArrayLike | None = None,
    intervals: bool = True,
    level: float = 0.95,
    power: float = 0.8,
    resamples: int | None = None,
    seed: int = 0,
) -> FrontComparison:
    r"""Compare fronts figure by figure.

    All hypervolumes are above one reference point. EUM is over the weights of all fronts together; MIP and EUM - MIP are over the weights that all fronts were steered to. A front with `prompt_rewards` gets intervals from redrawn prompts; the first front is tested against each other one on
    the prompts that both answered, each redraw being used for both; an objective of a prompt counts in a test only where every point of both knows it.
    Each p-value is for its own figure alone: with four figures, one below 0.05 by chance is no surprise.

    The hypervolume of more than 128 points in five objectives, 56 in six or 24 in more gets neither interval nor test, which a note says: every redraw costs an exact computation.

    Args:
        fronts (`Mapping[str, ParetoFront]`): by label, at least one; over the same objectives in the same order, with the same normaliser.
        reference_point (`ArrayLike`, *optional*): `[K]`. Default: `common_reference_point` of all fronts.
        intervals (`bool`, *optional*, defaults to `True`): `False` gives the plain figures only, at once.
        level (`float`, *optional*, defaults to 0.95): of the intervals and the tests.
        power (`float`, *optional*, defaults to 0.8): the chance to decide that the number of prompts still needed stands for.
        resamples (`int`, *optional*): how often the prompts are redrawn. Default: 2000, or 500 where a front has more than 100 points and the level allows it.
        seed (`int`, *optional*, defaults to 0): of the redraws.

    Raises:
        InputError: no front, objectives, normalisers or signs that differ, or a level, power or number of resamples that makes no sense.

    Example:
        >>> from frontier import FrontPoint
        >>> one, two = (ParetoFront(("a", "b"), (FrontPoint((x, 3), (0, 0), 8), FrontPoint((2 * x, 1), (0, 0), 8))) for x in (1, 2))
        >>> compare_fronts({"one": one, "two": two}, reference_point=(0, 0))["hypervolume"].values
        {'one': 4.0, 'two': 8.0}
    """
    labels = tuple(fronts)
    check_comparable(list(fronts.values()), labels)
    first = next(iter(fronts.values()))
    place = common_reference_point(*fronts.values()) if reference_point is None else np.asarray(reference_point, float)
    place = as_points([place.tolist()], "reference point", len(first.objectives))[0]
    notes: list[str] = []
    tasks = [_Task("hypervolume", place)]
    tasks += _steered_tasks(fronts, notes)
    figures = [_figure(task, fronts) for task in tasks]
    if intervals:
        resamples = usual_resamples(fronts, level) if resamples is None else resamples
        _check(level, power, resamples)
        sampled = _with_samples(fronts, notes)
        options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
        for label, samples in sampled.items():
            _estimate(figures, tasks, label, samples, first.normalizer, notes, **options)
        for label in labels[1:]:
            if labels[0] in sampled and label in sampled:
                pair = (labels[0], label)
                _test(figures, tasks, pair, sampled, power, notes, normalizer=first.normalizer, **options)
    figures += _steering(fronts)
    return FrontComparison(
        labels, first.objectives, tuple(place.tolist()), first.normalizer, tuple(figures), tuple(dict.fromkeys(notes))
    )


def usual_resamples(fronts: Mapping[str, ParetoFront], level: float = 0.95) -> int:
    """How often prompts are redrawn where nobody says: less often for large fronts, unless a high level needs the tails."""
    many = max(len(front.points) for front in fronts.values()) > MANY_POINTS
    return RESAMPLES_OF_MANY if many and level <= 0.95 else RESAMPLES


@dataclass(frozen=True)
class _Task:
    """A figure to work out: above which point, over which weights, and which point of each front answers to each of them."""

    name: str
    place: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None
    served: dict[str, list[int]] | None = None

    def value(self, label: str, rewards: NDArray[np.float64]) -> float:
        if self.place is not None:
            return measure.hypervolume(rewards, self.place)
        assert self.weights is not None
        if self.served is None:
            return measure.eum(rewards, self.weights)
        reached = measure.mip(rewards[self.served[label]], self.weights)
        # The two means are rounded apart; mathematically the difference can't be negative.
        return reached if self.name == "mip" else max(0.0, measure.eum(rewards, self.weights) - reached)

    def answers(self, label: str) -> list[int] | None:
        """Which point answers to each row of the weights."""
        return None if self.served is None else self.served[label]


def _steered_tasks(fronts: Mapping[str, ParetoFront], notes: list[str]) -> list[_Task]:
    """EUM, MIP and their difference, as far as the fronts were steered to weights, and to the same ones."""
    asked = {label: _rows_by_weights(front) for label, front in fronts.items()}
    every = {row: None for rows in asked.values() for row in rows}
    if not every:
        notes.append("no point has weights in its preference: there is no EUM and no MIP")
        return []
    tasks = [_Task("eum", weights=np.array(list(every)))]
    shared = [row for row in every if all(row in rows for rows in asked.values())]
    if not shared:
        notes.append("the fronts were steered to no common weights: their MIP would not compare")
        return tasks
    if len(shared) < len(every):
        notes.append(f"MIP and EUM - MIP are over the {len(shared)} of {len(every)} weights that all fronts share")
    served = {label: [rows[row] for row in shared] for label, rows in asked.items()}
    return tasks + [_Task(name, None, np.array(shared), served) for name in ("mip", "controllability_gap")]


def _rows_by_weights(front: ParetoFront) -> dict[tuple[float, ...], int]:
    """The first point at each weight vector, rounded so that 0.1 + 0.2 is 0.3."""
    found: dict[tuple[float, ...], int] = {}
    for i, weights in enumerate(front.weights):
        if not np.isnan(weights).any():
            found.setdefault(tuple((np.round(weights, 9) + 0.0).tolist()), i)
    return found


def _figure(task: _Task, fronts: Mapping[str, ParetoFront]) -> Figure:
    return Figure(task.name, {label: task.value(label, front.rewards) for label, front in fronts.items()}, {}, {})


def _check(level: float, power: float, resamples: int) -> None:
    """Refuse settings here: what the samples of one front don't allow is a note, what the caller asked for wrongly is not."""
    from frontier.measure.uncertainty.bootstrap import check_settings

    check_settings(level, resamples)
    if not 0.5 <= power < 1:
        raise InputError(f"power must be at least 0.5 and below 1, found {power}")


def _with_samples(fronts: Mapping[str, ParetoFront], notes: list[str]) -> dict[str, PromptRewards]:
    found = {label: front.prompt_rewards for label, front in fronts.items()}
    without = [label for label, samples in found.items() if samples is None]
    if without:
        notes.append(
            f"no intervals for {', '.join(without)}: its rewards on each prompt were not kept; measure it again"
        )
    return {label: samples for label, samples in found.items() if samples is not None}


def _estimate(
    figures: Sequence[Figure],
    tasks: Sequence[_Task],
    label: str,
    samples: PromptRewards,
    normalizer: dict[str, Any] | None,
    notes: list[str],
    **options: Any,
) -> None:
    from frontier.measure.uncertainty import bootstrap

    for figure, task in zip(figures, tasks, strict=True):
        if _takes_long(task, samples, label, notes):
            continue
        try:
            found = bootstrap(
                samples.rewards,
                task.name,
                reference_point=task.place,
                weights=task.weights,
                served=task.answers(label),
                **options,
            )
        except InputError as error:
            notes.append(f"no intervals for {label}: {error}")
            return
        figure.estimates[label] = replace(found, normalizer=normalizer)


def _takes_long(task: _Task, samples: PromptRewards, label: str, notes: list[str]) -> bool:
    """Whether the figure is a hypervolume of too many points; says so in a note."""
    count = len(samples.objectives)
    most = math.inf if count <= 4 else MOST_POINTS.get(count, MOST_POINTS_BEYOND)
    if task.place is None or samples.n_points <= most:
        return False
    notes.append(
        f"no interval and no test for the hypervolume of {label}: in {count} objectives at most {most} points are redrawn, found {samples.n_points}"
    )
    return True


def _test(
    figures: Sequence[Figure],
    tasks: Sequence[_Task],
    pair: tuple[str, str],
    samples: Mapping[str, PromptRewards],
    power: float,
    notes: list[str],
    **options: Any,
) -> None:
    from frontier.measure.uncertainty import compare_rewards, prompts_needed
    from frontier.measure.uncertainty.samples import unknown_to_some

    one, two = (samples[label] for label in pair)
    answered = set(two.prompts)
    both = [prompt for prompt in one.prompts if prompt in answered]
    least = min(one.n_prompts, two.n_prompts)
    if len(both) < least:
        notes.append(f"{pair[0]} and {pair[1]} share {len(both)} prompts of {one.n_prompts} and {two.n_prompts}")
    if not both:
        notes.append(f"no test of {pair[0]} against {pair[1]}: measure both on the same prompts")
        return
    a, b = (part.align(both).rewards for part in (one, two))
    left_out = int(unknown_to_some(np.concatenate([a, b])).any(axis=1).sum())
    if left_out:
        notes.append(
            f"{left_out} of the {len(both)} prompts are left out of the test of {pair[0]} against {pair[1]}, wholly or for some objective: not every point's reward is known"
        )
    for figure, task in zip(figures, tasks, strict=True):
        if any(_takes_long(task, samples[label], label, notes) for label in pair):
            continue
        try:
            found = compare_rewards(
                a,
                b,
                task.name,
                reference_point=task.place,
                weights_a=task.weights,
                served_a=task.answers(pair[0]),
                served_b=task.answers(pair[1]),
                objectives=one.objectives,
                **options,
            )
        except InputError as error:
            notes.append(f"no test of {pair[0]} against {pair[1]}: {error}")
            return
        needed = prompts_needed(found, power=power)
        figure.tests[pair[1]] = Test(found, needed, _verdict(figure.name, found, pair))


def _verdict(name: str, found: "Comparison", pair: tuple[str, str]) -> str:
    if found.p_value > 1 - found.difference.level:
        return "not decided"
    first_is_larger = found.difference.value > 0
    return pair[0] if first_is_larger != (name in LOWER_IS_BETTER) else pair[1]


def _steering(fronts: Mapping[str, ParetoFront]) -> list[Figure]:
    """Spearman's correlation of weight and reward, objective by objective."""
    found = {
        label: front.steering() if _rows_by_weights(front) else dict.fromkeys(front.objectives, math.nan)
        for label, front in fronts.items()
    }
    objectives = next(iter(fronts.values())).objectives
    return [
        Figure(f"steering.{name}", {label: values[name] for label, values in found.items()}, {}, {})
        for name in objectives
        if any(not math.isnan(values[name]) for values in found.values())
    ]
