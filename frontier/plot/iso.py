"""Find the point that someone's weights make best, and what is as good as it: the iso-utility line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError, unknown_name


@dataclass(frozen=True)
class IsoUtility:
    """All reward vectors r with $w^T r$ = `utility`, the utility of the best of the points.

    Args:
        weights (`tuple[float, ...]`): `[K]`, summing to 1.
        index (`int`): the best point; of several the first.
        utility (`float`): its utility.
    """

    weights: tuple[float, ...]
    index: int
    utility: float

    def text(self, objectives: Sequence[str]) -> str:
        """The weights in words, those of 0 left out: `helpful 0.70, brief 0.30`."""
        return ", ".join(f"{name} {w:.2f}" for name, w in zip(objectives, self.weights, strict=True) if w > 0)


def iso_utility(rewards: NDArray[np.float64], objectives: Sequence[str], weights: Mapping[str, float]) -> IsoUtility:
    """The best point for weights that someone chose.

    Args:
        rewards (`NDArray`): `[n, K]`, maximised.
        objectives (`Sequence[str]`): the K names.
        weights (`Mapping[str, float]`): by objective, at least 0; those left out are 0. Only their ratios matter.

    Raises:
        InputError: an unknown objective, a weight that is negative or not finite, or no weight above 0.
    """
    for name, weight in weights.items():
        if name not in objectives:
            raise unknown_name("objective in iso", name, objectives)
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise InputError(f"iso weight of {name} must be a number of at least 0, found {weight!r}")
    row = np.array([float(weights.get(name, 0.0)) for name in objectives])
    if not row.sum() > 0:
        raise InputError(f"iso needs a weight above 0 for one of {', '.join(objectives)}; found {dict(weights)}")
    row /= row.sum()
    utilities = rewards @ row
    best = int(np.argmax(utilities))
    return IsoUtility(tuple(row.tolist()), best, float(utilities[best]))
