"""Gap filling: measure next in the middle of the largest hole of the front."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from frontier.choose.explore.base import Array, Bound, Explorer, at_least_0, growth, key
from frontier.choose.explore.boxes import undominated_boxes
from frontier.errors import InputError
from frontier.measure.hypervolume import hypervolume, reference_point


class GapFilling(Explorer):
    r"""Asks for the weights between neighbours whose rewards leave the largest undominated gap. Every objective is maximised.

    The measured weights are joined to neighbours: in order for two weights, by Delaunay's triangulation of the simplex for more. The gap of neighbours S is the hypervolume that its most
    optimistic point would add to the front P,

    $$ g(S) = HV\big(P \cup \{u\}\big) - HV(P), \quad u_k = \max_{i \in S} r_{ik} - e_k $$

    which for two objectives is the empty box between two points of the front. The next weight halves the longest edge, in rewards scaled to their range, of the neighbours with the largest gap.
    Errors $e_k$ (`confidence` combined standard errors of the neighbours) are taken off first: points that lie closer than their error have no gap between them.

    It needs no model, no tuning and no training of one; concave fronts are no harder than convex ones. It starts with the vertices, and assumes that steering is monotone: between neighbours no
    reward exceeds the best of theirs. Its bound, the share by which the front would grow if every gap were filled to its most optimistic point, holds under that assumption only.

    Args:
        n_weights (`int`): M.
        n_objectives (`int`, *optional*): K; M when not given.
        epsilon (`float`, *optional*, defaults to 0.01): done when the bound is at most this share of the hypervolume.
        confidence (`float`, *optional*, defaults to 2.0): how many standard errors two rewards must differ by to count.
        resolution (`float`, *optional*, defaults to 0.001): neighbours whose weights differ by less are never split.
        seed (`int`, *optional*, defaults to 0): unused: nothing is random.

    Example:
        >>> gaps = GapFilling(2)
        >>> gaps.ask(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        >>> gaps.tell([[1, 0], [0, 1]], [[1, 0], [0, 1]])
        >>> gaps.ask().tolist()
        [[0.5, 0.5]]
    """

    kind: ClassVar[str] = "gaps"

    def __init__(
        self,
        n_weights: int,
        n_objectives: int | None = None,
        *,
        epsilon: float = 0.01,
        confidence: float = 2.0,
        resolution: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__(n_weights, n_objectives, epsilon=epsilon, seed=seed)
        self.confidence = at_least_0("confidence", confidence)
        self.resolution = at_least_0("resolution", resolution)
        if not 0 < self.resolution < 1:
            raise InputError(f"resolution must be above 0 and below 1, found {resolution!r}")

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"confidence": self.confidence, "resolution": self.resolution}

    def _propose(self, n: int) -> list[Array]:
        taken = self._taken()
        asked = [row for row in np.eye(self.n_weights) if key(row) not in taken][:n]
        known = self.measured
        if len(known.weights) < 2 or any(key(row) not in map(key, known.weights) for row in np.eye(self.n_weights)):
            return asked
        weights, rewards, errors = known.weights, known.rewards, known.errors
        place = reference_point(rewards)
        waiting = [*self._pending.values()]
        guess = _interpolated(weights, rewards, np.array(waiting)) if waiting else np.empty((0, self.n_objectives))
        weights = np.vstack([weights, *waiting])
        rewards, errors = np.vstack([rewards, guess]), np.vstack([errors, np.zeros_like(guess)])
        while len(asked) < n:
            found = self._largest_gap(weights, rewards, errors, place)
            if found is None:
                break
            i, j = found
            asked.append((weights[i] + weights[j]) / 2)
            # Until it is told, the new point stands where its neighbours' mean is, so that a batch spreads over several gaps.
            weights = np.vstack([weights, asked[-1]])
            rewards = np.vstack([rewards, (rewards[i] + rewards[j]) / 2])
            errors = np.vstack([errors, np.maximum(errors[i], errors[j])])
        return asked

    def _largest_gap(self, weights: Array, rewards: Array, errors: Array, place: Array) -> tuple[int, int] | None:
        """The edge to halve; None when no gap is left."""
        cells = neighbours(weights)
        gain = undominated_boxes(rewards, place).improvement(self._optimistic(cells, rewards, errors))
        scale = np.ptp(rewards, axis=0)
        unit = rewards / np.where(scale > 0, scale, 1.0)
        known = {key(w) for w in weights}
        for cell in cells[np.argsort(-gain, kind="stable")][: int((gain > 0).sum())]:
            first, second = np.triu_indices(len(cell), 1)
            a, b = cell[first], cell[second]
            apart = np.abs(weights[a] - weights[b]).max(axis=1)
            # The weights break ties, such as between edges along which the rewards don't change.
            length = np.linalg.norm(unit[a] - unit[b], axis=1) + 1e-6 * apart
            for e in np.argsort(-length, kind="stable"):
                if apart[e] >= self.resolution and key((weights[a[e]] + weights[b[e]]) / 2) not in known:
                    return int(a[e]), int(b[e])
        return None

    def _optimistic(self, cells: NDArray[np.int64], rewards: Array, errors: Array) -> Array:
        """`[cells, K]`: the best of the neighbours in each objective, less what their errors explain."""
        combined = np.sqrt(2.0) * errors[cells].max(axis=1)
        return rewards[cells].max(axis=1) - self.confidence * combined

    def _bound(self) -> Bound:
        known = self.measured
        what = (
            "growth of the hypervolume if every gap were filled to the best of its neighbours in each objective at once; at most this much, "
            "where no reward between neighbours exceeds theirs"
        )
        if len(known.weights) < 2 or any(key(row) not in map(key, known.weights) for row in np.eye(self.n_weights)):
            return Bound(np.inf, "share of the hypervolume", what)
        place = reference_point(known.rewards)
        filled = np.vstack([known.rewards, self._optimistic(neighbours(known.weights), known.rewards, known.errors)])
        left = growth(hypervolume(filled, place), hypervolume(known.rewards, place))
        return Bound(left, "share of the hypervolume", what)


def neighbours(weights: Array) -> NDArray[np.int64]:
    """`[cells, M]` rows of weights that are neighbours: consecutive ones for two weights, Delaunay's simplices for more."""
    if weights.shape[1] == 2:
        order = np.argsort(weights[:, 0], kind="stable")
        return np.column_stack([order[:-1], order[1:]])
    from scipy.spatial import Delaunay

    flat = _flattened(weights)
    cells = Delaunay(flat).simplices.astype(np.int64)
    corners = flat[cells]
    volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1]))
    return cells[volume > 1e-12]  # rounding leaves flat cells along the edges of the simplex


def _flattened(weights: Array) -> Array:
    """The simplex laid flat without distortion: `[n, M]` to `[n, M - 1]`."""
    count = weights.shape[1]
    basis = np.linalg.qr(np.column_stack([np.ones(count), np.eye(count)[:, : count - 1]]))[0][:, 1:]
    return weights @ basis


def _interpolated(weights: Array, rewards: Array, at: Array) -> Array:
    """Rewards at further weights, linear between neighbours."""
    if weights.shape[1] == 2:
        order = np.argsort(weights[:, 0])
        columns = [np.interp(at[:, 0], weights[order, 0], r[order]) for r in rewards.T]
        return np.column_stack(columns)
    from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

    flat, places = _flattened(weights), _flattened(at)
    found = LinearNDInterpolator(flat, rewards)(places)
    outside = np.isnan(found).any(axis=1)  # a point on the edge may fall out by rounding
    found[outside] = NearestNDInterpolator(flat, rewards)(places[outside])
    return np.asarray(found, dtype=np.float64)
