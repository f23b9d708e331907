"""One steerable MODPO run beside one model per preference for the same front of eleven preferences: how good the front is for how much training.

Every point of a curve is a run of its own, with a whole learning rate schedule; both ways share pairs, reference log-probs and rewards, which are computed once.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs import Job, Result, run_jobs
from benchmarks.report import Row
from benchmarks.training.context import Context
from benchmarks.training.curve_worlds import (
    BATCH,
    ORACLE_BETA,
    ORACLE_OBJECTIVES,
    STEPS_OF_LATTICE,
    STORY_BETA,
    STORY_OBJECTIVES,
    oracle,
    stories,
)
from frontier.atomic import replace_file
from frontier.measure import hypervolume, reference_point
from moalign.preference_sampling import lattice

ARMS = {"steerable": "one steerable run", "separate": "one model per preference"}
# Updates in total, of which a model per preference gets an eleventh each. The last ones are for the models alone: what they need to come as far.
FRACTIONS = {"steerable": (1 / 8, 1 / 4, 1 / 2, 1), "separate": (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)}
FULL = {"oracle": 400, "stories": 160}
QUICK_FRACTIONS = {"steerable": (1 / 2, 1), "separate": (1 / 2, 1)}
QUICK_FULL = {"oracle": 22, "stories": 22}
PICTURE = "curve.png"
TITLE = {
    "gain": "Share of the attainable gain",
    "mip": "Mean utility at 11 preferences",
    "hv": "Hypervolume of 11 points",
}

# By world, then arm, then updates in total: the quality of the front by figure, averaged over seeds.
Curves = dict[str, dict[str, dict[int, dict[str, float]]]]


def rows(context: Context) -> list[Row]:
    """The quality of both fronts for each number of updates, and how many more updates separate models need."""
    jobs = plan(context)
    results = run_jobs(jobs, what="Curve", keep=context.keep)
    found = [Row("curve.failed", f"{_named(r)}: {r.error}", None, holds=False) for r in results if r.error]
    if not (context.data / "loaders.py").is_file():
        found.append(Row("curve.stories.skipped", "the folder with real data is not there: --data", None))
    curves = curves_of([r for r in results if not r.error])
    for world, arms in curves.items():
        found += rows_of(world, arms)
    if context.pictures is not None and curves:
        draw(curves, context.pictures / PICTURE)
    return found


def plan(context: Context) -> list[Job]:
    """A job for each world, arm and seed."""
    full, fractions = (QUICK_FULL, QUICK_FRACTIONS) if context.quick else (FULL, FRACTIONS)
    jobs = []
    for arm, parts in fractions.items():
        updates = {world: [round(part * total) for part in parts] for world, total in full.items()}
        for seed in range(1 if context.quick else 2):
            own = {"arm": arm, "seed": seed, "updates": updates["oracle"], "pairs": 500 if context.quick else 10_000}
            jobs.append(Job(oracle, own, 90.0))
        if (context.data / "loaders.py").is_file():
            own = {"arm": arm, "seed": 0, "updates": updates["stories"], "data": str(context.data)}
            own |= {"pairs": 64, "prompts": 8} if context.quick else {"pairs": 2000, "prompts": 128}
            jobs.append(Job(stories, own, 120.0))
    return jobs


def curves_of(results: Sequence[Result]) -> Curves:
    """The figures of each front: the mean over the seeds."""
    by_world: dict[str, list[Result]] = {}
    for result in results:
        by_world.setdefault(result.job.function.__name__, []).append(result)
    curves: Curves = {}
    for world, some in by_world.items():
        figure = oracle_figures(some) if world == "oracle" else story_figures(some)
        curves[world] = {}
        for arm in ARMS:
            own = [(r, f) for r, f in zip(some, figure, strict=True) if r.job.settings["arm"] == arm]
            if not own:
                continue
            curves[world][arm] = {}
            for total, first in own[0][0].figures.items():
                values = {name: float(np.mean([f[total][name] for _, f in own])) for name in own[0][1][total]}
                values["seconds"] = float(np.mean([r.figures[total]["seconds"] for r, _ in own]))
                curves[world][arm][first["updates"]] = values
    return curves


def oracle_figures(results: Sequence[Result]) -> list[dict[str, dict[str, float]]]:
    """Of each result, by its key of updates: the share of the attainable gain, its mean over the preferences."""
    return [
        {total: {"gain": float(np.mean([p["gain"] for p in at["points"]]))} for total, at in r.figures.items()}
        for r in results
    ]


def story_figures(results: Sequence[Result]) -> list[dict[str, dict[str, float]]]:
    """Of each result, by its key of updates: hypervolume above one point for all, and the mean over the preferences of w·r - β KL (MIP)."""
    weights = np.array([p.as_tensor(STORY_OBJECTIVES).tolist() for p in lattice(STORY_OBJECTIVES, STEPS_OF_LATTICE)])
    fronts = [np.array([p["rewards"] for p in at["points"]]) for r in results for at in r.figures.values()]
    place = reference_point(np.vstack(fronts))
    found = []
    for r in results:
        own = {}
        for total, at in r.figures.items():
            rewards, kl = np.array([p["rewards"] for p in at["points"]]), np.array([p["kl"] for p in at["points"]])
            mip = float(((weights * rewards).sum(1) - STORY_BETA * kl).mean())
            own[total] = {"mip": mip, "hv": hypervolume(np.maximum(rewards, place), place)}
        found.append(own)
    return found


WHAT = {
    "gain": (
        f"share of the attainable gain in w·r − {ORACLE_BETA:g} KL, mean over 11 preferences",
        "of what is attainable",
    ),
    "mip": (
        f"mean over 11 preferences of w·r − {STORY_BETA:g} KL, r z-scored, on held-out prompts (MIP)",
        "reference sd",
    ),
    "hv": (
        "hypervolume of 11 points of z-scored rewards, on held-out prompts, above one point for all",
        "squared reference sd",
    ),
}
WHERE = {
    "oracle": f"covered world ({', '.join(ORACLE_OBJECTIVES)}), exact",
    "stories": f"a real story teller ({', '.join(STORY_OBJECTIVES)})",
}


def rows_of(world: str, arms: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[Row]:
    """A row for each point of each curve, and for each figure how many times the updates separate models need."""
    found = []
    figures = [name for name in next(iter(next(iter(arms.values())).values())) if name != "seconds"]
    for name in figures:
        what, unit = WHAT[name]
        for arm, curve in arms.items():
            for updates, values in curve.items():
                text = f"{ARMS[arm]}, {updates} updates of {BATCH[world]} pairs in total, {values['seconds']:.0f} s of CPU time; {what}; {WHERE[world]}"
                peer = {} if arm != "steerable" else _peer(arms.get("separate", {}), updates, name)
                found.append(Row(f"curve.{world}.{name}.{arm}.{updates}", text, values[name], unit, **peer))
        if set(arms) == set(ARMS):
            found.append(_factor(world, name, arms))
    return found


def _peer(other: Mapping[int, Mapping[str, float]], updates: int, name: str) -> dict[str, Any]:
    """What separate models reach with about as many updates (they share them evenly, so a few are left over)."""
    near = [n for n in other if abs(n - updates) <= STEPS_OF_LATTICE]
    return {"peer": "one model per preference, as many updates", "peer_value": other[near[0]][name]} if near else {}


def _factor(world: str, name: str, arms: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Row:
    """How many times the updates of the steerable run separate models need for a front as good."""
    updates = max(arms["steerable"])
    goal = arms["steerable"][updates][name]
    curve = {n: values[name] for n, values in arms["separate"].items()}
    needed = updates_to_reach(goal, curve)
    text = f"updates that one model per preference needs for a front as good as that of one steerable run of {updates} updates ({goal:.4g}), over those; {WHAT[name][0]}; {WHERE[world]}"
    if needed is None:
        most = max(curve)
        text += f"; not reached with {most / updates:.3g} times as many ({curve[most]:.4g})"
    return Row(f"curve.{world}.{name}.factor", text, None if needed is None else needed / updates, "times")


def updates_to_reach(goal: float, curve: Mapping[int, float]) -> float | None:
    """Where a curve first comes to a value, straight lines over the logarithm of the updates between its points; `None` where it does not.

    Example:
        >>> updates_to_reach(0.5, {100: 0.0, 400: 1.0})
        200.0
    """
    before: tuple[int, float] | None = None
    for updates, value in sorted(curve.items()):
        if value >= goal:
            if before is None or value == before[1]:
                return float(updates)
            share = (goal - before[1]) / (value - before[1])
            return math.exp(math.log(before[0]) + share * math.log(updates / before[0]))
        before = (updates, value)
    return None


def draw(curves: Curves, path: Path) -> None:
    """A panel for each figure, updates on a logarithmic axis."""
    from matplotlib.figure import Figure

    from frontier.plot.colours import SERIES

    panels = [
        (world, name)
        for world, arms in curves.items()
        for name in next(iter(next(iter(arms.values())).values()))
        if name != "seconds"
    ]
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    for axes, (world, name) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for colour, (arm, curve) in zip(SERIES, curves[world].items(), strict=False):
            at = sorted(curve)
            axes.plot(at, [curve[n][name] for n in at], marker="o", color=colour, label=ARMS[arm])
        axes.set_xscale("log")
        axes.set_xlabel(f"updates in total ({BATCH[world]} pairs each)")
        axes.set_ylabel(WHAT[name][1])
        axes.set_title(f"{TITLE[name]} ({world})", loc="left", fontsize="medium")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    with replace_file(path) as beside:
        figure.savefig(beside, format="png", dpi=120)


def _named(result: Result) -> str:
    settings = result.job.settings
    return f"{result.job.function.__name__}, {ARMS[settings['arm']]}, seed {settings['seed']}"
