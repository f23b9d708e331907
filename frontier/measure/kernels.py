"""Run the fastest exact algorithm for a front of this size, with next to no Python around it.

Measured on fronts without dominated points: moocore is fastest up to 6 objectives, pagmo's WFG from 7 on and from 150 points in 6. Below some hundred
points moocore's Python wrappers take longer than the C functions behind them, so those are called directly. They are private names: `C_FUNCTIONS` says what
they must look like, and where they don't, the public functions are called, which give the same numbers.

What arrives here has passed the gate (`frontier.measure.dominance.as_points`): finite, float64, C-contiguous, maximised.
"""

import logging
import math
from functools import cache
from types import ModuleType
from typing import Any, cast

import moocore
import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError

Array = NDArray[np.float64]

logger = logging.getLogger(__name__)

MOST_OBJECTIVES, MOST_COLUMNS = 31, 255  # moocore's fixed buffers: of hypervolumes, of filters
FEW = 12  # moocore's inclusion-exclusion: as fast as anything at any number of objectives
PREFILTER = 500  # points from which one point that beats most of the others is worth looking for
PRESORT = 300  # points from which sorting them beforehand pays
TRIM_FROM = {5: 500, 6: 70}  # points from which leaving out dominated ones repays the look for them
C_FUNCTIONS = {
    "fpli_hv": "double(*)(double *, size_t, uint_fast8_t, double *)",
    "is_nondominated": "void(*)(uint8_t *, double *, size_t, uint_fast8_t, _Bool, uint8_t *)",
}


@cache
def c_functions() -> tuple[Any, Any] | None:
    """Moocore's `lib` and `ffi`, or None when the C functions are no longer where and what they were."""
    try:
        from moocore._moocore import ffi, lib

        found = {name: ffi.typeof(getattr(lib, name)).cname for name in C_FUNCTIONS}
    except (ImportError, AttributeError, TypeError):
        found = {}
    if found != C_FUNCTIONS:
        logger.info("moocore %s is called through its public functions", getattr(moocore, "__version__", "?"))
        return None
    return lib, ffi


@cache
def pygmo() -> ModuleType | None:
    """The pygmo package, or None with a note: without it, hypervolumes of many objectives take up to 100 times as long."""
    try:
        import pygmo as found
    except ImportError:
        logger.warning(
            "pygmo is not installed: hypervolumes of 7 and more objectives (6 from 150 points on) are computed by moocore, "
            "up to 100 times slower. Install pygmo, or use approximate_hypervolume."
        )
        return None
    return cast(ModuleType, found)


def wfg_is_faster(n: int, m: int) -> bool:
    """Whether pagmo's WFG beats moocore on n points that no other dominates, in m objectives (measured)."""
    return (m >= 7 and n > FEW) or (m == 6 and n >= 150)


def beyond_floats(how: str) -> InputError:
    """The error for a volume that is too `"large"` or too `"small"`."""
    return InputError(f"the volume is too {how} for a float: divide the objectives by their scales")


def volume(points: Array, reference: Array) -> float:
    """The exact hypervolume of maximised points, without a warning when it is 0; points not above the reference point in every objective add nothing.

    Raises:
        InputError: there are more than 31 objectives, or the volume is too large for a float.
    """
    value = _volume(points, reference)
    if not math.isfinite(value):
        raise beyond_floats("large")
    return value


def _volume(points: Array, reference: Array) -> float:
    n, m = points.shape
    if m > MOST_OBJECTIVES:
        raise InputError(
            f"exact hypervolumes go to {MOST_OBJECTIVES} objectives, found {m}: use approximate_hypervolume"
        )
    if m >= 5 and n >= TRIM_FROM.get(m, FEW + 1):
        points = _worth_counting(points, reference)
        n = len(points)
        library = pygmo() if wfg_is_faster(n, m) else None
        if library is not None:
            return float(library.hypervolume(-points).compute(-reference))
    elif n >= PRESORT and m <= 4:
        # NumPy sorts with vector instructions; what comes in the order of its sweep takes the C function down to half the time.
        points = points[np.argsort(np.negative(points[:, 0 if m == 2 else m - 1]))]
    return _moocore_volume(-points, -reference)


def _worth_counting(points: Array, reference: Array) -> Array:
    """The points without those below the reference point and, if it looks as if there were any, without dominated ones.

    Both slow the algorithms for many objectives down, and pagmo refuses the first. But most fronts are clean, and a full filter would be a tenth of the work.
    """
    above = points > reference
    if not above.all():
        points = np.ascontiguousarray(points[above.all(axis=1)])
    if len(points) == 0 or _not_beaten_by_one(points).all():
        return points
    return np.ascontiguousarray(points[keep_first_non_dominated(points)])


def _moocore_volume(costs: Array, reference: Array) -> float:
    n, m = costs.shape
    if n == 0:
        return 0.0
    functions = c_functions()
    if functions is None:
        return float(moocore.hypervolume(costs, ref=reference))
    lib, ffi = functions
    value = lib.fpli_hv(ffi.from_buffer("double[]", costs), n, m, ffi.from_buffer("double[]", reference))
    if value < 0:
        raise MemoryError(f"no memory for the hypervolume of {n} points")
    return float(value)


def volumes(points: Array, reference: Array) -> Array:
    """The exact hypervolumes of B fronts with n points each, `[B, n, m]` to `[B]`, m at most 4."""
    fronts, n, m = points.shape
    # As in `volume`, sorted for the sweep.
    order = np.argsort(np.negative(points[:, :, m - 1]), axis=1) + np.arange(fronts)[:, None] * n
    costs, place = np.take(points.reshape(-1, m), order, axis=0), -reference
    np.negative(costs, out=costs)
    functions = c_functions()
    if functions is None or n == 0:
        return np.array([_moocore_volume(front, place) for front in costs], dtype=np.float64)
    lib, ffi = functions
    call, at, step = lib.fpli_hv, ffi.from_buffer("double[]", costs), n * m
    start, bound = ffi.cast("double *", at), ffi.from_buffer("double[]", place)
    found = np.array([call(start + i * step, n, m, bound) for i in range(fronts)], dtype=np.float64)
    if (found < 0).any():
        raise MemoryError(f"no memory for the hypervolumes of {fronts} fronts of {n} points")
    return found


def keep_first_non_dominated(points: Array) -> NDArray[np.bool_]:
    """Which points no other dominates; of equal points, the first."""
    n = len(points)
    if n < PREFILTER:
        return _moocore_filter(points)
    left = np.flatnonzero(_not_beaten_by_one(points))
    if len(left) == n:
        return _moocore_filter(points)
    keep = np.zeros(n, dtype=np.bool_)
    keep[left[_moocore_filter(points[left])]] = True
    return keep


def _not_beaten_by_one(points: Array) -> NDArray[np.bool_]:
    """Which points are not equal to or dominated by the one with the largest sum, which itself counts as not beaten.

    It beats most of a cloud and hardly any of a front: two passes that cost little and often leave little to sort.
    """
    # Summed column by column, equal rows have equal sums, and argmax finds the first of them.
    total = points[:, 0].copy()
    for k in range(1, points.shape[1]):
        total += points[:, k]
    best = int(total.argmax())
    left = points[:, 0] > points[best, 0]
    for k in range(1, points.shape[1]):
        left |= points[:, k] > points[best, k]
    left[best] = True
    return left


def _moocore_filter(points: Array) -> NDArray[np.bool_]:
    n, m = points.shape
    if m > MOST_COLUMNS:
        raise InputError(f"points may have {MOST_COLUMNS} objectives at most, found {m}")
    functions = c_functions()
    if functions is None or n == 0 or m == 1:
        found = moocore.is_nondominated(points, maximise=True, keep_weakly=False) if n else np.zeros(0, dtype=np.bool_)
        return np.asarray(found, dtype=np.bool_)
    lib, ffi = functions
    keep = np.empty(n, dtype=np.bool_)
    lib.is_nondominated(
        ffi.from_buffer("uint8_t[]", keep.view(np.uint8)),
        ffi.from_buffer("double[]", points),
        n,
        m,
        False,
        ffi.from_buffer("uint8_t[]", b"\1" * m),
    )
    return keep
