"""List weights that cover the simplex evenly, for indicators that are a mean or a maximum over users."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError
from frontier.measure.rows import whole_number

LARGEST = 1_000_000


def weight_lattice(n_objectives: int, partitions: int) -> NDArray[np.float64]:
    r"""All weights that are multiples of 1/partitions: the lattice of [Das & Dennis (1998)](https://doi.org/10.1137/S1052623496307510).

    Args:
        n_objectives (`int`): K, at least 1.
        partitions (`int`): the steps that each edge of the simplex is cut into, at least 1.

    Returns:
        `NDArray[np.float64]`: `[n, K]` with $n = \binom{\text{partitions} + K - 1}{K - 1}$ rows that sum to 1, the first objective's weight falling from 1
            to 0.

    Raises:
        InputError: either is no whole number or below 1, or there would be more than a million rows.

    Example:
        >>> weight_lattice(2, 2).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    n_objectives = whole_number(n_objectives, "n_objectives", 1)
    partitions = whole_number(partitions, "partitions", 1)
    size = math.comb(partitions + n_objectives - 1, n_objectives - 1)
    if size > LARGEST:
        raise InputError(
            f"a lattice of {n_objectives} objectives and {partitions} partitions has {size:,} weights, more than {LARGEST:,}: take fewer partitions"
        )
    # K - 1 bars among partitions + K - 1 places: the lengths between the bars are the steps of each objective.
    places = partitions + n_objectives - 1
    bars = np.array(list(itertools.combinations(range(places), n_objectives - 1)), dtype=np.int64)
    edges = np.concatenate([np.full((size, 1), -1), bars.reshape(size, -1), np.full((size, 1), places)], axis=1)
    return np.ascontiguousarray((np.diff(edges, axis=1) - 1)[::-1] / partitions)


def partitions_for(n_weights: int, n: int) -> int:
    """The partitions of the finest lattice that has at most n weights, at least 1.

    Args:
        n_weights (`int`): K, at least 2.
        n (`int`): how many weights there may be.
    """
    partitions = 1
    while math.comb(partitions + n_weights, n_weights - 1) <= n:
        partitions += 1
    return partitions
