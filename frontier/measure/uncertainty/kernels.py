"""Compute one figure for thousands of resampled fronts at once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError, unknown_name
from frontier.measure.dominance import as_points
from frontier.measure.kernels import volume, volumes

# `[B, P, K]` mean rewards to `[B]` figures.
Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# `[P, K]` mean rewards to a number.
Indicator = Callable[[NDArray[np.float64]], float]
INDICATORS = ("hypervolume", "eum", "mip", "controllability_gap")


def hypervolumes(fronts: NDArray[np.float64], reference_point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hypervolumes of many fronts of equal size: `[B, P, K]` points, maximised, above `[K]`, to `[B]`.

    One or two objectives in NumPy (sort by the first, scan the second), more by the kernels of `frontier.measure`, front by front.
    """
    above = np.maximum(fronts - reference_point, 0.0)
    if above.shape[2] == 1:
        return above[:, :, 0].max(axis=1)
    if above.shape[2] == 2:
        order = np.argsort(-above[:, :, 0], axis=1, kind="stable")
        width, height = (np.take_along_axis(above[:, :, k], order, axis=1) for k in (0, 1))
        reached = np.maximum.accumulate(height, axis=1)
        gained = np.diff(reached, axis=1, prepend=0.0)
        return (width * gained).sum(axis=1)
    zero = np.zeros(above.shape[2])
    if above.shape[2] <= 4:
        return volumes(above, zero)
    return np.array([volume(front[(front > 0).all(axis=1)], zero) for front in above])


def kernel(
    indicator: str | Indicator,
    points: int,
    objectives: int,
    reference_point: ArrayLike | None,
    weights: ArrayLike | None,
    served: ArrayLike | None = None,
) -> Kernel:
    """The batched form of an indicator, by name or of a callable.

    Args:
        indicator (`str` or callable): `"hypervolume"` (needs the reference point), `"eum"`, `"mip"` or `"controllability_gap"` (need weights), or a function from
            `[P, K]` mean rewards to a number.
        points (`int`): P.
        objectives (`int`): K.
        reference_point (`ArrayLike`, *optional*): `[K]`.
        weights (`ArrayLike`, *optional*): `[W, K]`; of `mip` and `controllability_gap` one row per point that was steered.
        served (`ArrayLike`, *optional*): `[W]`, for each row of the weights the index of the point that was steered to it. Default: row i belongs to point i.

    Raises:
        InputError: an unknown name, what it needs is missing or of another size, or `served` names no point. The kernel of a callable raises it where that returns no finite number.
    """
    if callable(indicator):
        return _each(indicator)
    if indicator not in INDICATORS:
        raise unknown_name("indicator", str(indicator), INDICATORS)
    if indicator == "hypervolume":
        if reference_point is None:
            raise InputError("a hypervolume needs a reference_point that stays the same over all resamples")
        place = as_points([np.asarray(reference_point, dtype=np.float64).tolist()], "reference point", objectives)[0]
        return lambda fronts: hypervolumes(fronts, place)
    if weights is None:
        raise InputError(f"{indicator} needs weights, [W, K]")
    users = as_points(weights, "weights", objectives)
    if len(users) == 0:
        raise InputError(f"{indicator} needs weights, at least one row")
    if indicator == "eum":
        return lambda fronts: (fronts @ users.T).max(axis=1).mean(axis=1)
    rows = np.arange(points) if served is None else _served(served, points)
    if len(users) != len(rows):
        raise InputError(
            f"row i of the weights belongs to point i in {indicator}: found {len(users)} rows for {len(rows)} points"
        )
    if indicator == "mip":
        return lambda fronts: np.einsum("bwk,wk->b", fronts[:, rows], users) / len(users)
    return lambda fronts: _gaps(fronts @ users.T, rows)


def _gaps(utility: NDArray[np.float64], served: NDArray[np.intp]) -> NDArray[np.float64]:
    """`[B, P, W]` utilities to what is lost because row w is served by its own point."""
    return (utility.max(axis=1) - utility[:, served, np.arange(len(served))]).mean(axis=1)


def _served(served: ArrayLike, points: int) -> NDArray[np.intp]:
    rows = np.asarray(served)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows < 0).any() or (rows >= points).any():
        raise InputError(f"served must be indices of points, whole numbers from 0 to {points - 1}, found {served!r}")
    return rows.astype(np.intp)


def _number(found: object) -> float:
    try:
        if np.ndim(found) != 0:  # type: ignore[arg-type]
            raise TypeError("it has axes")
        return float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the indicator must return a number, found {type(found).__name__}: {error}") from error


def _each(indicator: Indicator) -> Kernel:
    def figures(fronts: NDArray[np.float64]) -> NDArray[np.float64]:
        # Copies: an indicator that changes its argument must not change the resamples of the next figure.
        found = np.array([_number(indicator(front.copy())) for front in fronts])
        if not np.isfinite(found).all():
            raise InputError(
                f"the indicator must be finite for every resampled front, found {found[~np.isfinite(found)][0]}"
            )
        return found

    return figures
