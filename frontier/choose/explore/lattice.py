"""The weights among which a strategy may choose: an even lattice on the simplex, or a table of your own."""

import math

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError
from frontier.measure.lattice import weight_lattice

LARGEST = 20_000


def simplex_lattice(n_weights: int, partitions: int) -> NDArray[np.float64]:
    """All weights that are multiples of `1/partitions` ([Das & Dennis, 1998](https://doi.org/10.1137/S1052623496307510)).

    Args:
        n_weights (`int`): M, at least 2.
        partitions (`int`): into how many steps each edge of the simplex is cut, at least 1.

    Returns:
        `NDArray`: `[C(partitions + M - 1, M - 1), M]`, from weight 0 of the first to weight 1.

    Raises:
        InputError: a count is too small, or there would be more than 20,000 weights.

    Example:
        >>> simplex_lattice(2, 2).tolist()
        [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    if n_weights < 2 or partitions < 1:
        raise InputError(
            f"a lattice needs at least 2 weights and 1 partition, found {n_weights} weights and {partitions} partitions"
        )
    size = math.comb(partitions + n_weights - 1, n_weights - 1)
    if size > LARGEST:
        raise InputError(f"{partitions} partitions of {n_weights} weights make {size:,}, more than {LARGEST:,}")
    return weight_lattice(n_weights, partitions)[::-1].copy()
