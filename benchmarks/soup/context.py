"""What both parts get, and the searches that both compare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Row
from frontier.front import ParetoFront
from frontier.measure import hypervolume
from frontier.realize.soup import Evaluations, Experts, SoupSpace, blocks_of, search_soups


@dataclass(frozen=True)
class Context:
    """Limits and places.

    Args:
        scratch (`Path`): for files.
        data (`Path`, *optional*): the folder of real data.
        keep (`Path`, *optional*): a folder for finished parts, from which a run that was cut off goes on.
        quick (`bool`): a small run that shows only that everything works.
    """

    scratch: Path
    data: Path | None = None
    keep: Path | None = None
    quick: bool = False


# Label to the optimizer and the number of runs of layers (0: the same coefficients everywhere). Coefficients are in LIMITS, but for linear interpolation.
KINDS = {
    "linear": ("lattice", False),
    "global": ("improvement", False),
    "layerwise": ("improvement", True),
    "layerwise_nsga2": ("nsga2", True),
}
LIMITS = (0.0, 1.5)


def searches(
    evaluate: Callable[[Any], Any],
    experts: Experts,
    objectives: Sequence[str],
    *,
    budget: int,
    layers: int,
    seed: int,
    evaluations: Evaluations | None = None,
) -> dict[str, ParetoFront]:
    """One front for each kind, all with the same budget; they share what they evaluate, and each pays for all that it asks."""
    known = evaluations or Evaluations(places=experts.places)
    fronts = {}
    for name, (optimizer, blockwise) in KINDS.items():
        blocks = blocks_of(experts.places, layers if blockwise else 0)
        space = SoupSpace(experts.names, blocks, None if optimizer == "lattice" else LIMITS)
        fronts[name] = search_soups(
            evaluate,
            space,
            objectives=objectives,
            budget=budget,
            optimizer=optimizer,
            seed=seed,
            evaluations=known,
            progress=name,
        )
    return fronts


def volume(rewards: Any, place: NDArray[np.float64]) -> float:
    """The hypervolume above a point that some of the rewards may lie below."""
    return hypervolume(np.maximum(np.asarray(rewards, dtype=np.float64), place), place)


def ordering(part: str, values: dict[str, list[float]], what: str, unit: str) -> list[Row]:
    """A row for each kind (mean over seeds, their range), with the next simpler one as its peer and its bar."""
    simpler = {"global": "linear", "layerwise": "global", "layerwise_nsga2": "global"}
    rows = []
    for name, found in values.items():
        mean = float(np.mean(found))
        extra: dict[str, Any] = {}
        if name in simpler:
            peer = float(np.mean(values[simpler[name]]))
            extra = {"peer": simpler[name], "peer_value": peer}
            if name != "layerwise_nsga2":
                extra |= {"bar": f">= {peer:.4g} ({simpler[name]})", "holds": mean >= peer}
        text = f"{what}; {len(found)} seed{'s' * (len(found) > 1)}"
        rows.append(Row(f"{part}.{name}", text, mean, unit, interval=[min(found), max(found)], **extra))
    return rows
