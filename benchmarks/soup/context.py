"""What both parts get, the searches that both compare, and the rows that both make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.jobs import Result
from benchmarks.report import Row, at_least
from frontier.front import ParetoFront
from frontier.measure import hypervolume
from frontier.measure.uncertainty import compare_rewards
from frontier.realize.soup import Evaluations, Experts, SoupSpace, blocks_of, search_soups


@dataclass(frozen=True)
class Context:
    """Limits and places.

    Args:
        data (`Path`, *optional*): the folder of real data.
        keep (`Path`, *optional*): a folder for finished parts and seeds, from which a run that was cut off goes on.
        quick (`bool`): a small run that shows only that everything works.
    """

    data: Path | None = None
    keep: Path | None = None
    quick: bool = False


@dataclass(frozen=True)
class Kind:
    """One way to search.

    Args:
        optimizer (`str`): of `search_soups`.
        blockwise (`bool`): coefficients of its own for every run of layers.
        limits (`tuple`, *optional*): of the coefficients; on the simplex without.
        what (`str`): for the rows.
    """

    optimizer: str
    blockwise: bool
    limits: tuple[float, float] | None
    what: str


SIMPLEX, WIDE = None, (0.0, 1.5)
_SAID = {SIMPLEX: "on the simplex", WIDE: f"in {WIDE[0]:g}..{WIDE[1]:g}"}
_EVERYWHERE, _RUNS = "the same everywhere", "others in every run of layers"
# What is compared with what, and whether a bar is set: searches with the same optimizer and the same limits, and the plain search with linear interpolation.
RATIOS = {
    "layerwise_over_global": ("layerwise", "global", True),
    "global_over_linear": ("global", "linear", True),
    "layerwise_over_global_nsga2": ("layerwise_nsga2", "global_nsga2", False),
    "layerwise_over_global_wide": ("layerwise_wide", "global_wide", False),
    "global_simplex_over_linear": ("global_simplex", "linear", False),
}


def kinds(limits: tuple[float, float] | None, *more: str) -> dict[str, Kind]:
    """Linear interpolation, and the searches with these limits; others by name.

    Args:
        limits (`tuple`, *optional*): of the coefficients of `global` and `layerwise`; `None` is the simplex.
        more (`str`): of `global_simplex`, `global_nsga2`, `layerwise_nsga2`, `global_wide`, `layerwise_wide`.
    """

    def searched(optimizer: str, blockwise: bool, own: tuple[float, float] | None) -> Kind:
        by = " by NSGA-II" if optimizer == "nsga2" else ""
        return Kind(
            optimizer, blockwise, own, f"coefficients searched{by} {_SAID[own]}, {_RUNS if blockwise else _EVERYWHERE}"
        )

    every = {
        "linear": Kind(
            "lattice", False, SIMPLEX, "straight interpolation of all parameters: an even lattice on the simplex"
        ),
        "global": searched("improvement", False, limits),
        "layerwise": searched("improvement", True, limits),
        "global_simplex": searched("improvement", False, SIMPLEX),
        "global_nsga2": searched("nsga2", False, limits),
        "layerwise_nsga2": searched("nsga2", True, limits),
        "global_wide": searched("improvement", False, WIDE),
        "layerwise_wide": searched("improvement", True, WIDE),
    }
    return {name: kind for name, kind in every.items() if name in ("linear", "global", "layerwise", *more)}


def searches(
    evaluate: Callable[[Any], Any],
    experts: Experts,
    objectives: Sequence[str],
    *,
    budget: int,
    layers: int,
    seed: int,
    kinds: Mapping[str, Kind],
) -> dict[str, ParetoFront]:
    """One front for each kind, all with the same budget; they share what they evaluate, and each pays for all that it asks."""
    known = Evaluations(places=experts.places)
    fronts = {}
    for name, kind in kinds.items():
        space = SoupSpace(experts.names, blocks_of(experts.places, layers if kind.blockwise else 0), kind.limits)
        fronts[name] = search_soups(
            evaluate,
            space,
            objectives=objectives,
            budget=budget,
            optimizer=kind.optimizer,
            seed=seed,
            evaluations=known,
            progress=None,
        )
    return fronts


def volume(rewards: Any, place: NDArray[np.float64]) -> float:
    """The hypervolume above a point that some of the rewards may lie below."""
    return hypervolume(np.maximum(np.asarray(rewards, dtype=np.float64), place), place)


def compared(
    rewards: Mapping[str, NDArray[np.float64]], place: NDArray[np.float64], resamples: int = 1000
) -> dict[str, list[float]]:
    """`[value, low, high]` of every ratio of two hypervolumes: prompts redrawn for both at once, the luck of the best of noisy means taken off (`compare_rewards`).

    Args:
        rewards (`Mapping[str, NDArray]`): by kind, `[P, N, K]` rewards of its points on the same N prompts.
        place (`NDArray`): `[K]`, the reference point.
        resamples (`int`, *optional*, defaults to 1000): of the prompts.
    """
    # Of very few prompts a redraw may leave nothing above the reference point, which has no logarithm.
    least = max(1e-3 * min(volume(rows.mean(axis=1), place) for rows in rewards.values()), 1e-9)

    def logarithm(means: NDArray[np.float64]) -> float:
        return float(np.log(max(volume(means, place), least)))

    found = {}
    for name, (one, other, _) in RATIOS.items():
        if {one, other} <= rewards.keys():
            gap = compare_rewards(rewards[one], rewards[other], logarithm, resamples=resamples).difference
            found[name] = [float(np.exp(v)) for v in (gap.value, gap.low, gap.high)]
    return found


def ordering(
    part: str, results: Sequence[Result], kinds: Mapping[str, Kind], what: str, unit: str, group: str | None = None
) -> list[Row]:
    """A row for the hypervolume of each kind and one for each ratio between two of them: the mean over seeds, with the range of them or, where prompts were redrawn, the interval.

    Args:
        part (`str`): before the ids.
        results (`Sequence[Result]`): one a seed, whose figures are hypervolumes by kind (those under `group`, where that is given) and, under `ratios`, what `compared` gives, if that is known.
        kinds (`Mapping[str, Kind]`): that were searched.
        what (`str`): of the hypervolumes.
        unit (`str`): of the hypervolumes.
        group (`str`, *optional*): a key of the figures.
    """
    rows = [
        Row(f"{part}.failed", f"seed {r.job.settings['seed']}: {r.error}", None, holds=False)
        for r in results
        if r.error
    ]
    figures = [r.figures[group] if group else r.figures for r in results if not r.error]
    if not figures:
        return rows
    seeds = f"{len(figures)} seed{'s' * (len(figures) > 1)}"
    for name, kind in kinds.items():
        mean, interval = _over_seeds([f[name] for f in figures])
        rows.append(Row(f"{part}.{name}.hv", f"{kind.what}; {what}; {seeds}", mean, unit, interval=interval))
    for name, (one, other, barred) in RATIOS.items():
        if not {one, other} <= kinds.keys():
            continue
        if "ratios" in figures[0]:
            mean, interval = _pooled([f["ratios"][name] for f in figures])
        else:
            mean, interval = _over_seeds([f[one] / f[other] for f in figures])
        text = f"hypervolume of {one} over that of {other}, equally many evaluations; {one}: {kinds[one].what}; {other}: {kinds[other].what}; {seeds}"
        bar = at_least(1.0, mean) if barred else {}
        rows.append(Row(f"{part}.{name}", text, mean, "ratio", interval=interval, **bar))
    return rows


def _pooled(found: Sequence[Sequence[float]]) -> tuple[float, list[float]]:
    """The mean of values with intervals, and its own: errors of different seeds are independent."""
    value, low, high = np.array(found).T
    mean = float(value.mean())
    down, up = (float(np.sqrt((reach**2).sum()) / len(value)) for reach in (value - low, high - value))
    return mean, [mean - down, mean + up]


def _over_seeds(found: Sequence[float]) -> tuple[float, list[float]]:
    return float(np.mean(found)), [min(found), max(found)]
