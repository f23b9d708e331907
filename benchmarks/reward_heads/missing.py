"""Drop 80 % of the labels of one objective: what the K-head model loses, beside a model of its own trained on what is left."""

from collections import defaultdict
from typing import Any

import torch

from benchmarks.jobs import Job, run_jobs
from benchmarks.report import Row
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.sets import comparisons
from benchmarks.reward_heads.training import fine_tune, split_of

SETS = ("newsroom",)
QUICK_SETS = ("sfres",)
KEPT = 0.2
# How many objectives of a set are thinned, each by itself.
THINNED = 2
SEEDS = 3


def rows(context: Context) -> list[Row]:
    """The fall of the thinned objective's accuracy in both models, and how far the other objectives move."""
    names, seeds = (QUICK_SETS, 1) if context.quick else (SETS, SEEDS)
    jobs = []
    for name in names:
        real, _ = split_of(str(context.data), name, 0, context.quick)
        thinned = real.objectives[: 1 if context.quick else THINNED]
        common: dict[str, Any] = {"data": str(context.data), "encoder": str(context.encoder), "name": name, "fold": 0}
        common["quick"] = context.quick
        for seed in range(seeds):
            jobs.append(Job(fine_tune, {**common, "objectives": real.objectives, "seed": seed}, 50))
            for objective in thinned:
                less = {**common, "dropped": objective, "kept": KEPT, "seed": seed}
                jobs.append(Job(fine_tune, {**less, "objectives": real.objectives}, 50))
                jobs.append(Job(fine_tune, {**less, "objectives": (objective,)}, 10))
                jobs.append(Job(fine_tune, {**common, "objectives": (objective,), "seed": seed}, 50))
    results = run_jobs(jobs, what="Missing labels", keep=context.keep)
    accuracy: dict[tuple[str, str, bool, str | None], list[float]] = defaultdict(list)
    found = []
    for result in results:
        s = result.job.settings
        if result.error:
            found.append(Row(f"missing.{s['name']}.failed", f"training failed: {result.error}", None, holds=False))
            continue
        real, split = split_of(s["data"], s["name"], 0, context.quick)
        scores = torch.tensor(result.figures["test"])
        for column, objective in enumerate(s["objectives"]):
            pairs = comparisons(real, split.test, objective)
            d = scores[pairs.a, column] - scores[pairs.b, column]
            right = (0.5 + 0.5 * d.sign() * (torch.tensor(pairs.label) - 0.5).sign()).mean().item()
            accuracy[s["name"], objective, len(s["objectives"]) > 1, s.get("dropped")].append(100 * right)
    for name in names:
        real, _ = split_of(str(context.data), name, 0, context.quick)
        found += _rows_of(name, real.objectives, accuracy)
    return found


def _rows_of(
    name: str, objectives: tuple[str, ...], accuracy: dict[tuple[str, str, bool, str | None], list[float]]
) -> list[Row]:
    found = []
    for objective in objectives:
        if (name, objective, True, objective) not in accuracy:
            continue
        falls = {
            together: _difference(
                accuracy[name, objective, together, None], accuracy[name, objective, together, objective]
            )
            for together in (True, False)
        }
        (khead, k_interval), (single, s_interval) = falls[True], falls[False]
        seeds = len(accuracy[name, objective, True, None])
        found.append(
            Row(
                f"missing.{name}.{objective}.fall",
                f"points of accuracy that the K-head model loses when {1 - KEPT:.0%} of this objective's labels are missing; {seeds} seeds; the single "
                f"model's interval [{s_interval[0]:.1f}, {s_interval[1]:.1f}]",
                khead,
                "points",
                interval=k_interval,
                peer="single model",
                peer_value=single,
                bar=f"< {single:.2f}",
                holds=khead < single,
            )
        )
        for other in objectives:
            if other == objective:
                continue
            moved, interval = _difference(accuracy[name, other, True, None], accuracy[name, other, True, objective])
            # How much the accuracy moves between seeds alone; with one seed there is no such measure.
            noise = max(interval[1] - moved, 1.0) if seeds > 1 else None
            found.append(
                Row(
                    f"missing.{name}.{objective}.moves.{other}",
                    "points by which another objective's accuracy falls meanwhile; bar: 95 % noise between seeds, at least a point",
                    moved,
                    "points",
                    interval=interval,
                    bar=None if noise is None else f"|.| <= {noise:.2f}",
                    holds=None if noise is None else abs(moved) <= noise,
                )
            )
    return found


def _difference(full: list[float], less: list[float]) -> tuple[float, list[float]]:
    """Mean of full minus less over seeds, paired, with a 95 % t interval."""
    from scipy import stats

    d = torch.tensor(full) - torch.tensor(less)
    mean = d.mean().item()
    if len(d) < 2:
        return mean, [mean, mean]
    half = stats.t.ppf(0.975, len(d) - 1) * d.std().item() / len(d) ** 0.5
    return mean, [mean - half, mean + half]
