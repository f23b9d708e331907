"""Give weights a colour, so that a reader sees which policy was asked for what, also with a colour vision deficiency.

Three objectives: each has a base hue and the weights mix them, as in a ternary diagram; the hues differ in lightness too (dark blue, vermilion, yellow), so that they
stay apart without red-green vision. Any other number: the weight of one objective on the plasma scale.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

BASE = ("#1a52b0", "#d9500b", "#f2c500")
UNKNOWN = "#8a8a8a"  # no weights to speak of
# For what has a name and no weights (a front, a run): every two differ in lightness, so that they stay apart in grey and without red-green vision.
SERIES = ("#1a52b0", "#d9500b", "#1c1c1c", "#f2c500", "#4f1d63", "#7fb4d8")
# Stops of matplotlib's plasma, without its lightest end, which is hard to see on white. Lightness rises all the way.
SCALE = ("#0d0887", "#5302a3", "#8b0aa5", "#b83289", "#db5c68", "#f48849", "#febd2a")

# Björn Ottosson's OKLab: mixing there keeps the lightness of the mixture between those of its parts, which mixing sRGB values doesn't.
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)


def mix(colours: Sequence[str], shares: ArrayLike) -> str:
    """The mixture of hex colours by shares (non-negative, not all 0), mixed perceptually."""
    parts = np.asarray(shares, dtype=np.float64)
    lms = np.cbrt(_linear(colours) @ _TO_LMS.T)
    # OKLab is a linear map of these cube roots, so the mixture can be taken here.
    mixed = ((parts / parts.sum()) @ lms) ** 3
    rgb = np.clip(np.linalg.solve(_TO_LMS, mixed), 0, 1)
    encoded = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * c):02x}" for c in encoded)


def on_scale(share: float) -> str:
    """The colour of a share in [0, 1] on the plasma scale."""
    at = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    left = min(int(at), len(SCALE) - 2)
    return mix(SCALE[left : left + 2], (1 - (at - left), at - left))


def colours_of(weights: NDArray[np.float64], column: int) -> list[str]:
    """A hex colour for each row of weights.

    Args:
        weights (`NDArray`): `[n, K]`; rows of NaN (no weights) get `UNKNOWN`. Negative weights count as 0.
        column (`int`): the objective whose share of the weights gives the colour when K is not 3.
    """
    result = []
    for row in weights:
        shares = np.maximum(row, 0.0)
        if np.isnan(row).any() or shares.sum() == 0:
            result.append(UNKNOWN)
        elif len(row) == 3:
            result.append(mix(BASE, shares))
        else:
            result.append(on_scale(shares[column] / shares.sum()))
    return result


def triangle_cells(steps: int = 12) -> list[tuple[NDArray[np.float64], str]]:
    """The small triangles of a ternary key: for each its corners `[3, 2]` in a unit-side triangle and its colour.

    The corners of the key are objective 1 at (0, 0), 2 at (1, 0) and 3 at the top.
    """
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    cells = []
    for i in range(steps):
        for j in range(steps - i):
            k = steps - 1 - i - j
            up = np.array([[i + 1, j, k], [i, j + 1, k], [i, j, k + 1]]) / steps
            cells.append((up @ corners, mix(BASE, up.mean(axis=0))))
            if k > 0:
                down = np.array([[i + 1, j + 1, k - 1], [i, j + 1, k], [i + 1, j, k]]) / steps
                cells.append((down @ corners, mix(BASE, down.mean(axis=0))))
    return cells


def _linear(colours: Sequence[str]) -> NDArray[np.float64]:
    encoded = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear: NDArray[np.float64] = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear
