"""Check a reference point against its points, and say why a hypervolume is zero before somebody believes it."""

import math
import sys
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure import kernels
from frontier.measure.dominance import as_points, plain_values

Array = NDArray[np.float64]
LARGEST_LOGARITHM = 700.0  # of a volume that a float holds, with room for a factor of some thousand


def as_reference_point(reference_point: ArrayLike) -> Array:
    """A reference point as a finite float64 array `[m]`.

    Raises:
        InputError: it is no list of numbers, or not finite.
    """
    try:
        place = np.array(plain_values(reference_point), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the reference point must be a list of numbers, one an objective: {error}") from error
    if place.ndim != 1 or len(place) == 0:
        raise InputError(
            f"the reference point must be a list of numbers, one an objective, found shape {list(place.shape)}"
        )
    if not math.isfinite(np.vdot(place, place)):
        return as_points([place], "reference point")[0]  # says what is wrong with it
    return place


def points_and_reference(points: ArrayLike, reference_point: ArrayLike) -> tuple[Array, Array]:
    """Points `[n, m]` and the reference point `[m]`, checked.

    Raises:
        InputError: either is not finite, or they differ in the number of objectives.
    """
    place = as_reference_point(reference_point)
    array = as_points(points)
    if array.shape == (0, 0):  # an empty list
        array = array.reshape(0, len(place))
    if array.shape[1] != len(place):
        raise InputError(
            f"the points must have {len(place)} columns, found {array.shape[1]}: the reference point has "
            f"{len(place)} values, one an objective"
        )
    return array, place


def reference_hint(points: ArrayLike, reference_point: ArrayLike) -> str | None:
    """Why these points have no hypervolume above this reference point, or None when they have one (or there are no points).

    Args:
        points (`ArrayLike`): `[n, m]`, finite, maximised.
        reference_point (`ArrayLike`): `[m]`, finite.

    Raises:
        InputError: either is not finite, or they differ in the number of objectives.

    Example:
        >>> reference_hint([[1, 2], [2, 1]], [0, 0])
        >>> reference_hint([[1, 2], [2, 1]], [3, 3])
        'every point lies below the reference point, so the hypervolume is 0: are these costs? Everything is maximised; negate costs and their reference point'
        >>> reference_hint([[1, 0], [2, -1]], [0, 0])
        'no point lies above the reference point in every objective, so the hypervolume is 0: objective 1 reaches 0 at most, with the reference at 0'
    """
    array, place = points_and_reference(points, reference_point)
    above = array > place
    if len(array) == 0 or above.all(axis=1).any():
        return None
    if (array < place).all():
        return (
            "every point lies below the reference point, so the hypervolume is 0: are these costs? Everything is maximised; "
            "negate costs and their reference point"
        )
    never = np.flatnonzero(~above.any(axis=0))
    why = [f"objective {k} reaches {array[:, k].max():g} at most, with the reference at {place[k]:g}" for k in never]
    if not why:
        why = ["each point falls short in some objective; reference_point(points) gives one below all of them"]
    return f"no point lies above the reference point in every objective, so the hypervolume is 0: {'; '.join(why)}"


def warn_if_costs(points: Array, reference: Array, whose: str = "") -> None:
    """Warn about a hypervolume of 0 whose every point lies below the reference point: most likely costs that were not negated.

    The warning names the line from which this package was called, however deep inside it this is.

    Args:
        points (`NDArray`): `[n, m]`, finite.
        reference (`NDArray`): `[m]`, finite.
        whose (`str`, *optional*): the name of their front, to begin the warning with.
    """
    if not len(points) or not (points < reference).all():
        return
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == __name__.split(".")[0]:
        frame, level = frame.f_back, level + 1
    hint = str(reference_hint(points, reference))
    warnings.warn(f"{whose}: {hint}" if whose else hint, UserWarning, stacklevel=level)


def check_volumes(extents: Array, several: bool = False) -> None:
    """Refuse boxes whose volumes a float can't hold: they would come out as infinite, NaN or 0.

    Args:
        extents (`NDArray`): `[n, m]`, n at least 1, all above 0: points less the reference point.
        several (`bool`, *optional*, defaults to `False`): whether the volumes will be summed.

    Raises:
        InputError: the largest volume is above e^700, or below e^-700.
    """
    largest = float(np.log(extents).sum(axis=1).max()) + (math.log(len(extents)) if several else 0.0)
    if abs(largest) > LARGEST_LOGARITHM:
        raise kernels.beyond_floats("large" if largest > 0 else "small")
