"""Find the points that no other point beats: the ones among which a user has something to choose.

One rule for equal points: of those that are exactly equal the first is kept, once, and points that tie in some objectives are compared in the others.

This module is also the one gate in front of every front kernel. The kernels differ in what they do with NaN, infinities, duplicates and empty sets
(one NaN row can wipe out a whole front without a word), so such input is settled here, once, before any of them sees it.
"""

import math
from collections.abc import Callable
from typing import Any

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError, unknown_name
from frontier.measure import kernels

Array = NDArray[np.float64]
KINDS: dict[str, Callable[[Array, Array], bool]] = {
    "pareto": lambda p, q: bool((p >= q).all() and (p > q).any()),
    "weak": lambda p, q: bool((p >= q).all()),
    "strict": lambda p, q: bool((p > q).all()),
    "epsilon": lambda p, q: bool((p >= q).all()),  # p comes raised by epsilon
}


def plain_values(values: Any) -> Any:
    """What NumPy would misread, as what it reads: a torch tensor of any device and dtype as a NumPy array, masked values as NaN, which no front may hold."""
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    if hasattr(values, "detach"):
        return values.detach().cpu().double().numpy()
    if isinstance(values, list | tuple):
        return [row if isinstance(row, list | tuple) else plain_values(row) for row in values]
    return values


def as_points(points: ArrayLike, what: str = "points", columns: int | None = None) -> NDArray[np.float64]:
    """Points as a finite float64 array `[n, m]`, or a message that names the first row that cannot be one.

    Args:
        points (`ArrayLike`): `[n, m]`; an empty list is taken for `[0, columns]`. A torch tensor is detached; what a masked array masks counts as NaN.
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
        array = np.array(plain_values(points), dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the {what} must form a table of numbers, one row a point: {error}") from error
    if array.shape == (0,):
        array = array.reshape(0, columns or 0)
    if array.ndim != 2 or (len(array) > 0 and array.shape[1] == 0):
        raise InputError(f"the {what} must form a table [n, m], found shape {list(array.shape)}")
    if columns is not None and array.shape[1] != columns:
        raise InputError(f"the {what} must have {columns} columns, found {array.shape[1]}")
    # One fast pass over all of it; squares that overflow only cost the second look.
    if math.isfinite(np.vdot(array, array)):
        return array
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        row = int(bad[0])
        raise InputError(
            f"row {row} of the {what} is not finite: {array[row].tolist()}; leave it out or measure it again"
        )
    return array


def dominates(p: ArrayLike, q: ArrayLike, kind: str = "pareto", epsilon: ArrayLike | None = None) -> bool:
    r"""Whether reward vector p is better than q. Every objective is maximised.

    | kind | p dominates q when |
    |---|---|
    | `"pareto"` | $p_k \ge q_k$ for all $k$ and $p_k > q_k$ for some |
    | `"weak"` | $p_k \ge q_k$ for all $k$: equal vectors dominate each other |
    | `"strict"` | $p_k > q_k$ for all $k$ |
    | `"epsilon"` | $p_k + \varepsilon_k \ge q_k$ for all $k$ (additive; [Laumanns et al., 2002](https://doi.org/10.1162/106365602760234108)) |

    Args:
        p (`ArrayLike`): `[m]`, finite.
        q (`ArrayLike`): `[m]`, finite.
        kind (`str`, *optional*, defaults to `"pareto"`): a row of the table.
        epsilon (`ArrayLike`, *optional*): $\varepsilon \ge 0$ in units of the rewards, one number or `[m]`; for `"epsilon"` only, which needs it.

    Raises:
        InputError: the kind does not exist, epsilon is missing, negative or not for this kind, or the vectors are not finite or differ in length.

    Example:
        >>> dominates([1, 1], [1, 0]), dominates([1, 1], [1, 0], "strict"), dominates([1, 0], [1, 1], "epsilon", epsilon=1)
        (True, False, True)
    """
    if kind not in KINDS:
        raise unknown_name("kind of dominance", kind, KINDS)
    if (epsilon is None) == (kind == "epsilon"):
        raise InputError(f"epsilon belongs to the kind 'epsilon', found kind '{kind}' and epsilon {epsilon!r}")
    first = as_points([plain_values(p)], "vector p")[0]
    second = as_points([plain_values(q)], "vector q", len(first))[0]
    if epsilon is not None:
        first = first + _as_epsilon(epsilon, len(first))
    return KINDS[kind](first, second)


def non_dominated(points: ArrayLike, epsilon: ArrayLike | None = None) -> NDArray[np.bool_]:
    r"""Which points no other point dominates. Every objective is maximised.

    p dominates q when p is nowhere smaller than q and somewhere larger. Of points that are exactly equal, the first is judged and the later ones
    count as dominated by it, so that every reward vector is kept once at most.

    With epsilon the front is thinned: its points are gone through in the given order, and a point is left out when one that is kept already
    $\varepsilon$-dominates it, $p_k + \varepsilon_k \ge q_k$ for all $k$. Every point is then within epsilon of being dominated by a kept one, and of a cluster of nearly
    equal points the first stays. So put first what you prefer. The time grows with the number of points times the number kept, so with an epsilon that thins little it is quadratic.

    Args:
        points (`ArrayLike`): `[n, m]`, finite.
        epsilon (`ArrayLike`, *optional*): $\varepsilon \ge 0$ in units of the rewards, one number or `[m]`.

    Returns:
        `NDArray[np.bool_]`: `[n]`, true for the points to keep. All false only when n is 0.

    Raises:
        InputError: a row is not finite (the message names it), the rows are no table, or epsilon is negative or of the wrong length.

    Example:
        >>> non_dominated([[1, 0], [0, 1], [0, 0], [1, 0]]).tolist()
        [True, True, False, False]
        >>> non_dominated([[1, 0], [0.9, 0.1], [0, 1]], epsilon=0.2).tolist()
        [True, False, True]
    """
    array = as_points(points)
    if len(array) == 0:
        return np.zeros(0, dtype=np.bool_)
    keep = kernels.keep_first_non_dominated(array)
    if epsilon is None:
        return keep
    margin = _as_epsilon(epsilon, array.shape[1])
    rows = np.flatnonzero(keep)
    keep[:] = False
    while rows.size:  # the first that is left stays, and takes with it all that it epsilon-dominates
        keep[rows[0]] = True
        rows = rows[1:][(array[rows[1:]] > array[rows[0]] + margin).any(axis=1)]
    return keep


def non_dominated_sort(points: ArrayLike) -> NDArray[np.int64]:
    """The rank of every point: 0 on the front, 1 on the front of what is left without it, and so on. Every objective is maximised.

    ([Deb et al., 2002](https://doi.org/10.1109/4235.996017); computed with moocore.) Points that are exactly equal share their rank; `non_dominated` keeps the first of those
    with rank 0.

    Args:
        points (`ArrayLike`): `[n, m]`, finite.

    Returns:
        `NDArray[np.int64]`: `[n]`.

    Raises:
        InputError: a row is not finite (the message names it) or the rows are no table.

    Example:
        >>> non_dominated_sort([[1, 0], [0, 1], [0, 0], [1, 0], [-1, -1]]).tolist()
        [0, 0, 1, 0, 2]
    """
    array = as_points(points)
    if len(array) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(-array), dtype=np.int64)


def _as_epsilon(epsilon: ArrayLike, m: int) -> Array:
    margin = np.asarray(epsilon, dtype=np.float64)
    if margin.shape not in ((), (m,)) or not (np.isfinite(margin) & (margin >= 0)).all():
        raise InputError(f"epsilon must be one number or {m} numbers of at least 0, found {margin.tolist()}")
    return margin
