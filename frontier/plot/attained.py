"""Compare what two fronts of two objectives attain: by one only, by the other only, by both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AttainedShares:
    """How the plane above the reference point is shared between two fronts, as strips over which nothing changes.

    Args:
        edges (`NDArray`): `[m + 1]`, rising: the ends of the strips on the axis of objective 1; the first is the reference point's.
        first (`NDArray`), second (`NDArray`): `[m]`, up to which reward of objective 2 each front attains in the strip; the reference point's where it attains nothing.
        floor (`float`): the reference point's reward of objective 2.
    """

    edges: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    floor: float

    @property
    def only_first(self) -> float:
        """The area that only the first front attains: the hypervolume of both together less that of the second."""
        return float(np.maximum(self.first - self.second, 0) @ np.diff(self.edges))

    @property
    def only_second(self) -> float:
        """The area that only the second front attains."""
        return float(np.maximum(self.second - self.first, 0) @ np.diff(self.edges))

    @property
    def both(self) -> float:
        """The area that both attain."""
        return float((np.minimum(self.first, self.second) - self.floor) @ np.diff(self.edges))


def attained_shares(
    first: NDArray[np.float64], second: NDArray[np.float64], reference_point: NDArray[np.float64]
) -> AttainedShares:
    """Split the plane above the reference point by who attains it: r is attained where some point is at least as large in both objectives.

    Args:
        first (`NDArray`): `[n, 2]` points, maximised. Those not above the reference point attain nothing.
        second (`NDArray`): `[n, 2]`, those of the other front.
        reference_point (`NDArray`): `[2]`.
    """
    above = [points[(points > reference_point).all(axis=1)] for points in (first, second)]
    edges = np.unique(np.concatenate([reference_point[:1], *(points[:, 0] for points in above)]))
    floor = float(reference_point[1])
    heights = [
        np.array([points[points[:, 0] >= right, 1].max(initial=floor) for right in edges[1:]]) for points in above
    ]
    return AttainedShares(edges, heights[0], heights[1], floor)
