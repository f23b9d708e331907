"""Find the points that no other point beats: the ones among which a user has something to choose.

This module is also the one gate in front of every front kernel. The kernels differ in what they do with NaN, infinities, duplicates and empty sets
(one NaN row can wipe out a whole front without a word), so such input is settled here, once, before any of them sees it.
"""

from typing import cast

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError


def as_points(points: ArrayLike, what: str = "points", columns: int | None = None) -> NDArray[np.float64]:
    """Points as a finite float64 array `[n, m]`, or a message that names the first row that cannot be one.

    Args:
        points (`ArrayLike`): `[n, m]`; an empty list is taken for `[0, columns]`.
        what (`str`, *optional*, defaults to `"points"`): what the rows are, as it should read in a message.
        columns (`int`, *optional*): m, where it is known beforehand.

    Raises:
        InputError: the rows do not form an `[n, m]` array of numbers, m is 0 or not `columns`, or a row holds a NaN or an infinity.

    Example:
        >>> as_points([[0, 1], [float("nan"), 0]])
        Traceback (most recent call last):
            ...
        frontier.errors.InputError: row 1 of the points is not finite: [nan, 0.0]; leave it out or measure it again
    """
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {what} must form a table of numbers, one row a point: {error}") from error
    if array.shape == (0,):
        array = array.reshape(0, columns or 0)
    if array.ndim != 2 or (len(array) > 0 and array.shape[1] == 0):
        raise InputError(f"the {what} must form a table [n, m], found shape {list(array.shape)}")
    if columns is not None and array.shape[1] != columns:
        raise InputError(f"the {what} must have {columns} columns, found {array.shape[1]}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        row = int(bad[0])
        raise InputError(
            f"row {row} of the {what} is not finite: {array[row].tolist()}; leave it out or measure it again"
        )
    return array


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other point dominates. Every objective is maximised.

    p dominates q when p is nowhere smaller than q and somewhere larger. Of points that are exactly equal, the first is judged and the later ones
    count as dominated by it, so that every reward vector is kept once at most.

    Args:
        points (`ArrayLike`): `[n, m]`, finite.

    Returns:
        `NDArray[np.bool_]`: `[n]`, true for the points to keep. All false only when n is 0.

    Raises:
        InputError: a row is not finite (the message names it) or the rows are no table.

    Example:
        >>> non_dominated([[1, 0], [0, 1], [0, 0], [1, 0]]).tolist()
        [True, True, False, False]
    """
    array = as_points(points)
    if len(array) == 0:
        return np.zeros(0, dtype=np.bool_)
    return cast("NDArray[np.bool_]", np.asarray(moocore.is_nondominated(array, maximise=True, keep_weakly=False)))
