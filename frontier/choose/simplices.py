"""Say between which of some scattered weights another one lies, and with what shares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Weights closer than this are the same, and a share this far below 0 is rounding.
SAME = 1e-9
# Weights written with six decimals stray this little from the flat that they were meant to lie in.
FLAT = 1e-5


@dataclass(frozen=True, eq=False)
class Place:
    r"""Where weights lie among others.

    Args:
        rows (`NDArray`): `[v]`, the rows of the corners around it.
        shares (`NDArray`): `[v]`, barycentric coordinates: they sum to 1, and corners times shares give the weights. All above 0 when inside.
        inside (`bool`): whether it lies in the hull of all rows (its edge included).
        reach (`float`): $\sum_v |share_v| \cdot \lVert corner_v - w \rVert^2$, the mean squared distance to the corners; 0 at a corner. The error of linear
            interpolation is at most half of it times the largest curvature.
    """

    rows: NDArray[np.intp]
    shares: NDArray[np.float64]
    inside: bool
    reach: float


class Simplices:
    """The Delaunay triangulation of weights, in the flat that they span: segments for two objectives, triangles for three.

    The flat may be smaller than the simplex (all weights on one edge of it, say). Distances within it are those between the weights, so up to three
    objectives their order doesn't matter, except where four weights lie on a circle. For four and more, evenly spaced weights can be triangulated in several ways, and the order of
    the objectives decides which one it is.

    Args:
        weights (`NDArray`): `[n, K]`, rows that differ, n at least 1.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self.weights = weights
        self.origin = weights.mean(axis=0)
        _, lengths, directions = np.linalg.svd(weights - self.origin, full_matrices=False)
        self.basis = directions[lengths > FLAT]
        self.places = (weights - self.origin) @ self.basis.T
        self.corners = _triangulated(self.places)
        # A column of ones makes the shares sum to 1.
        matrices = np.concatenate([self.places[self.corners], np.ones((*self.corners.shape, 1))], axis=2)
        extent = float(np.ptp(self.places, axis=0).max()) if len(self.basis) else 1.0
        solid = abs(np.linalg.det(matrices)) > 1e-10 * extent ** len(self.basis)
        self.inverses = np.linalg.inv(matrices[solid])
        self.solid = self.corners[solid]

    def locate(self, weights: NDArray[np.float64]) -> Place | None:
        """The place of `[K]` weights, by the simplex that they lie in or least far out of; `None` when they lie off the flat."""
        relative = weights - self.origin
        place = relative @ self.basis.T
        if np.linalg.norm(relative - place @ self.basis) > FLAT or len(self.solid) == 0:
            return None
        shares = np.einsum("d,sdv->sv", np.append(place, 1.0), self.inverses)
        best = int(shares.min(axis=1).argmax())
        own, rows = shares[best], self.solid[best]
        inside = bool(own.min() >= -SAME)
        kept = abs(own) > SAME
        own, rows = own[kept] / own[kept].sum(), rows[kept]
        reach = float((abs(own) * ((self.weights[rows] - weights) ** 2).sum(axis=1)).sum())
        return Place(rows, own, inside, reach if len(rows) > 1 else 0.0)

    def neighbours(self, row: int) -> NDArray[np.intp]:
        """The rows that share an edge with a row."""
        around = np.unique(self.corners[(self.corners == row).any(axis=1)])
        return around[around != row]


def _triangulated(places: NDArray[np.float64]) -> NDArray[np.intp]:
    """`[S, d + 1]` rows of the corners of each simplex."""
    n, d = places.shape
    if d == 0:
        return np.zeros((1, 1), dtype=np.intp)
    if d == 1:
        order = np.argsort(places[:, 0], kind="stable")
        return np.stack([order[:-1], order[1:]], axis=1)
    if n == d + 1:
        return np.arange(n)[None]
    from scipy.spatial import Delaunay  # half a second to import

    return np.asarray(Delaunay(places).simplices, dtype=np.intp)
