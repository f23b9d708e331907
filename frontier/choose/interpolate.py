"""Estimate what a steerable policy would get at weights at which it was not measured, and how far that estimate can be trusted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frontier.choose.selection import by_column
from frontier.choose.simplices import SAME, Place, Simplices
from frontier.errors import InputError
from frontier.front import ParetoFront
from frontier.measure.rows import on_simplex

# Weights within this are merged before points are left out: two spellings of 1/3 would else predict each other from no distance at all.
MERGED = 1e-5


@dataclass(frozen=True)
class Interpolation:
    """Expected rewards between measured points, with both of their errors.

    Args:
        weights (`tuple[float, ...]`): `[K]`, the weights asked for, in the order of the objectives.
        rewards (`tuple[float, ...]`): `[K]` expected mean rewards, maximised, in the units of the front.
        standard_error (`tuple[float, ...]`): `[K]`, what the noise of the measured points carries into the rewards; NaN = not known.
        interpolation_error (`tuple[float, ...]`): `[K]`, what going straight between the points is likely to miss, judged by leaving points out; 0 at a
            measured point, NaN = not known.
        neighbours (`tuple[int, ...]`): the places in `front.points` of the points that it lies between.
        shares (`tuple[float, ...]`): of each neighbour; they sum to 1.
        extrapolated (`bool`): whether the weights lie outside all that was measured. Then the interpolation error is a guess.
        reason (`str`): a sentence for a person.
    """

    weights: tuple[float, ...]
    rewards: tuple[float, ...]
    standard_error: tuple[float, ...]
    interpolation_error: tuple[float, ...]
    neighbours: tuple[int, ...]
    shares: tuple[float, ...]
    extrapolated: bool
    reason: str

    @property
    def error(self) -> tuple[float, ...]:
        """`[K]`, both errors together, as the root of the sum of their squares; NaN where one is not known."""
        return tuple(math.hypot(s, e) for s, e in zip(self.standard_error, self.interpolation_error, strict=True))


class Interpolator:
    r"""Piecewise-linear interpolation over the measured weights; build it once to ask for many weights.

    The measured weights are triangulated (Delaunay), and between the corners $v$ of the simplex around w, with the barycentric shares $\lambda$,

    $$ \hat r(w) = \sum_v \lambda_v r_v, \qquad w = \sum_v \lambda_v w_v, \qquad \sum_v \lambda_v = 1 $$

    *Standard error.* Points measured on the same prompts vary together. Where the front has `prompt_rewards`, it is the standard error of the mixture
    $\sum_v \lambda_v r_v$ over the prompts; otherwise $\sum_v |\lambda_v| \, se_v$, which no correlation can exceed.

    *Interpolation error.* Linear interpolation misses half the curvature times the reach $\sum_v \lambda_v \lVert w_v - w \rVert^2$. Each measured point
    that lies between others (weights within 1e-5 count as one here: the noise of two measurements is no curvature between them) is left out and predicted from its neighbours; what it is off by, divided by its reach, is the curvature there, noise included.
    The error at w is the reach of w times the curvature: the root mean square over all points that can be left out or the largest among the corners around
    w, whichever is larger. On simulated fronts of 2 to 4 objectives, smooth and nearly stepped, the truth lay within the two errors together in 74 to 92 %
    of places: read it as about one standard deviation. It is not known when no point lies between others. A jump between two measured points that no other
    point sees stays unseen.

    `left_out` holds the residuals: `[g, K]`, measured less predicted, of each of the g weights that differ by more than 1e-5; NaN where a point lies between no others.

    Args:
        front (`ParetoFront`): points without weights in their preference are left out; points of equal weights are averaged.

    Raises:
        InputError: no point has weights, or some are not on the simplex.
    """

    def __init__(self, front: ParetoFront) -> None:
        self.front = front
        known = np.flatnonzero(~np.isnan(front.weights).any(axis=1))
        if known.size == 0:
            raise InputError(
                "no point of the front has weights in its preference, so there is nothing to interpolate between"
            )
        weights = on_simplex(front.weights[known])
        weights = weights / weights.sum(axis=1, keepdims=True)
        _, first, group = np.unique(np.round(weights / SAME), axis=0, return_index=True, return_inverse=True)
        self._members = [known[group.reshape(-1) == g] for g in range(len(first))]
        self._rewards = np.array([front.rewards[rows].mean(axis=0) for rows in self._members])
        self._simplices = Simplices(weights[first])
        merged, group = _merged(weights)
        rewards = np.array([front.rewards[known[group == g]].mean(axis=0) for g in range(len(merged))])
        self.left_out, reach = _leave_one_out(Simplices(weights[merged]), rewards)
        self._curvature = abs(self.left_out) / np.where(reach > 0, reach, np.nan)[:, None]
        self._curvature_of = group[first]  # each corner's row in it

    def __call__(self, weights: Mapping[str, float] | Sequence[float], *, extrapolate: bool = False) -> Interpolation:
        """The expected rewards at the weights.

        Args:
            weights (`Mapping[str, float]` or `Sequence[float]`): on the simplex: by name (one left out is 0), or all in the order of the objectives.
            extrapolate (`bool`, *optional*, defaults to `False`): continue the nearest simplex outside of what was measured, and flag it, instead of refusing.

        Raises:
            InputError: the weights name an unknown objective, are not on the simplex, or lie outside of the measured ones (with `extrapolate`: outside of
            the line or plane
                that those span).
        """
        asked = self._asked(weights)
        place = self._simplices.locate(asked)
        if place is None or not (place.inside or extrapolate):
            raise InputError(self._outside(asked, place))
        rewards = place.shares @ self._rewards[place.rows]
        points = np.concatenate([self._members[row] for row in place.rows])
        shares = np.concatenate(
            [
                np.full(len(self._members[row]), share / len(self._members[row]))
                for row, share in zip(place.rows, place.shares, strict=True)
            ]
        )
        noise = self._standard_error(points, shares)
        missed = self._missed(place)
        return Interpolation(
            tuple(asked.tolist()),
            tuple(rewards.tolist()),
            tuple(noise.tolist()),
            tuple(missed.tolist()),
            tuple(points.tolist()),
            tuple(shares.tolist()),
            not place.inside,
            self._reason(rewards, noise, missed, points, shares, not place.inside),
        )

    def _asked(self, weights: Mapping[str, float] | Sequence[float]) -> NDArray[np.float64]:
        if isinstance(weights, Mapping):
            row = by_column(self.front, "weights", weights, 0.0)
        else:
            row = np.asarray(weights, dtype=np.float64)
        asked = on_simplex(row.reshape(1, -1), len(self.front.objectives))[0]
        return np.asarray(asked / asked.sum())

    def _missed(self, place: Place) -> NDArray[np.float64]:
        if place.reach == 0:
            return np.zeros(self._rewards.shape[1])
        seen = self._curvature[~np.isnan(self._curvature).any(axis=1)]
        if len(seen) == 0:
            return np.full(self._rewards.shape[1], np.nan)
        near = np.nan_to_num(self._curvature[self._curvature_of[place.rows]], nan=0.0).max(axis=0)
        return np.asarray(place.reach * np.maximum(near, np.sqrt((seen**2).mean(axis=0))))

    def _standard_error(self, points: NDArray[np.intp], shares: NDArray[np.float64]) -> NDArray[np.float64]:
        samples = self.front.prompt_rewards
        if samples is None or len(points) == 1:
            return np.asarray(abs(shares) @ self.front.standard_errors[points])
        mixed = np.einsum("v,vnk->nk", shares, samples.rewards[points])
        result = np.full(mixed.shape[1], np.nan)
        for k, column in enumerate(mixed.T):
            known = column[~np.isnan(column)]
            if len(known) > 1:
                result[k] = known.std(ddof=1) / math.sqrt(len(known))
        return result

    def _outside(self, asked: NDArray[np.float64], place: Place | None) -> str:
        names, measured = self.front.objectives, self._simplices.weights
        wanted = ",".join(f"{n}={w:g}" for n, w in zip(names, asked, strict=True))
        spans = ", ".join(
            f"{n} {a:g} to {b:g}" for n, a, b in zip(names, measured.min(axis=0), measured.max(axis=0), strict=True)
        )
        hint = "measure there" if place is None else "measure there, or allow extrapolation"
        return (
            f"the weights {wanted} lie outside of those that were measured ({len(measured)}, spanning {spans}): {hint}"
        )

    def _reason(
        self,
        rewards: NDArray[np.float64],
        noise: NDArray[np.float64],
        missed: NDArray[np.float64],
        points: NDArray[np.intp],
        shares: NDArray[np.float64],
        outside: bool,
    ) -> str:
        corners = " and ".join(f"{i} ({share:.0%})" for i, share in zip(points, shares, strict=True))
        expected = ", ".join(
            f"{n} {r:.3f} ± {s:.3f} (interpolation ± {e:.3f})".replace("± nan", "± unknown")
            for n, r, s, e in zip(self.front.objectives, rewards, noise, missed, strict=True)
        )
        if outside:
            return (
                f"Extrapolated beyond the measured weights, from points {corners}, so the error is a guess: {expected}."
            )
        if len(points) == 1:
            return f"Measured as point {points[0]}: {expected}."
        return f"Between points {corners}: {expected}."


def _merged(weights: NDArray[np.float64]) -> tuple[list[int], NDArray[np.intp]]:
    """The rows that stand for all those within `MERGED` of them, and for each of `[n, K]` weights its place among these."""
    first: list[int] = []
    group = np.empty(len(weights), dtype=np.intp)
    for i in np.lexsort(weights.T[::-1]):
        near = np.flatnonzero((abs(weights[first] - weights[i]) <= MERGED).all(axis=1))
        group[i] = near[0] if near.size else len(first)
        if not near.size:
            first.append(int(i))
    return first, group


def _leave_one_out(
    simplices: Simplices, rewards: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`[g, K]` measured less predicted from the neighbours, NaN for a point that lies between no others, and `[g]` its reach."""
    residual, reach = np.full(rewards.shape, np.nan), np.full(len(rewards), np.nan)
    for row in range(len(rewards)):
        around = simplices.neighbours(row)
        if around.size == 0:
            continue
        # Taking a corner out of a Delaunay triangulation changes nothing beyond its neighbours.
        place = Simplices(simplices.weights[around]).locate(simplices.weights[row])
        if place is not None and place.inside:
            residual[row] = rewards[row] - place.shares @ rewards[around[place.rows]]
            reach[row] = place.reach
    return residual, reach


def interpolate(
    front: ParetoFront, weights: Mapping[str, float] | Sequence[float], *, extrapolate: bool = False
) -> Interpolation:
    """The expected rewards of a steerable policy at weights between those at which it was measured (see `Interpolator`, which also says how the errors come
    about).

    Args:
        front (`ParetoFront`): one steerable policy at several weights.
        weights (`Mapping[str, float]` or `Sequence[float]`): on the simplex: by name (one left out is 0), or all in the order of the objectives.
        extrapolate (`bool`, *optional*, defaults to `False`): go beyond the measured weights, flagged, instead of refusing.

    Raises:
        InputError: the front has no weights, those asked for are not on the simplex, or they lie outside of the measured ones.

    Example:
        >>> from frontier import FrontPoint
        >>> points = [
        ...     FrontPoint(r, (0.1, 0.1), 64, {"weights": {"helpful": w, "brief": 1 - w}})
        ...     for w, r in [(0, (0, 4)), (0.5, (3, 3)), (1, (4, 0))]
        ... ]
        >>> between = interpolate(ParetoFront(("helpful", "brief"), tuple(points)), {"helpful": 0.75, "brief": 0.25})
        >>> between.rewards, between.interpolation_error
        ((3.5, 1.5), (0.25, 0.25))
    """
    return Interpolator(front)(weights, extrapolate=extrapolate)
