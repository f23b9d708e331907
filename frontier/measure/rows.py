"""Check what an indicator is computed from: there must be rows, rewards and weights must pair, and a range must be more than rounding."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.dominance import as_points

# Weights that were written with six decimals still count as summing to 1.
SIMPLEX_TOLERANCE = 1e-5
# Of the largest value: 0.1 + 0.2 and 0.3 are one reward, and means over prompts differ by such amounts with the order of summation.
ROUNDING = 1e-12


def filled(rows: ArrayLike, what: str, columns: int | None = None) -> NDArray[np.float64]:
    """The rows as a finite array `[n, m]` with at least one row (see `frontier.measure.as_points`).

    Args:
        rows (`ArrayLike`): `[n, m]`.
        what (`str`): what the rows are, as it should read in a message: `"weights"`.
        columns (`int`, *optional*): m, where it is known beforehand.

    Raises:
        InputError: there is no row, a row is not finite, or the columns differ.
    """
    array = as_points(rows, what, columns)
    if array.size == 0:
        raise InputError(f"there are no {what}: this indicator needs at least one")
    return array


def paired(rewards: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and rewards of equal shape, *in this order*.

    Args:
        rewards (`ArrayLike`): `[W, K]`, row i from the policy steered to row i of the weights.
        weights (`ArrayLike`): `[W, K]`.

    Raises:
        InputError: either is empty or not finite, or their shapes differ.
    """
    users = filled(weights, "weights")
    points = filled(rewards, "points", users.shape[1])
    if len(users) != len(points):
        raise InputError(
            f"row i of the points belongs to row i of the weights: found {len(points)} points and {len(users)} weights"
        )
    return users, points


def non_negative(weights: ArrayLike, columns: int | None = None) -> NDArray[np.float64]:
    """Weights `[W, K]` of which none is negative.

    Raises:
        InputError: there is no row, a row is not finite, holds a negative weight or only zeros (the message names it), or the columns differ.
    """
    users = filled(weights, "weights", columns)
    bad = np.flatnonzero((users < 0).any(axis=1) | ~users.any(axis=1))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"row {row} of the weights must be at least 0 and not all 0, found {users[row].tolist()}")
    return users


def on_simplex(weights: ArrayLike, columns: int | None = None) -> NDArray[np.float64]:
    """Weights `[W, K]` that are not negative and sum to 1.

    Raises:
        InputError: there is no row, a row is not finite, is negative somewhere or does not sum to 1 (the message names it), or the columns differ.
    """
    users = non_negative(weights, columns)
    bad = np.flatnonzero(abs(users.sum(axis=1) - 1) > SIMPLEX_TOLERANCE)
    if bad.size:
        row = int(bad[0])
        raise InputError(
            f"row {row} of the weights must sum to 1, found {users[row].tolist()}, which sum to {users[row].sum():g}"
        )
    return users


def spans(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[K]`, the range of each objective over `[n, K]` points; exactly 0 where they agree up to rounding, 1e-12 of the largest value."""
    extent = np.ptp(points, axis=0)
    return np.where(extent > ROUNDING * abs(points).max(axis=0), extent, 0.0)


def whole_number(value: Any, what: str, least: int) -> int:
    """A setting that counts something, of any integer type, as an `int`.

    Raises:
        InputError: it is a truth value, not a whole number (such as 1e5, a float) or below `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{what} must be a whole number of at least {least}, found {value!r}")
    return int(value)
