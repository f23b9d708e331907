"""Put short labels beside points so that no text covers another, and as few marks as can be."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from frontier.plot.static.sheet import INK

_RADII = (9.0, 13.0, 18.0, 25.0, 34.0, 46.0, 62.0, 84.0, 112.0)  # points
_TURNS = 16
_LEADER = 20.0  # from this distance on a line says which point is meant


@dataclass(frozen=True)
class Label:
    """A text to put beside a place of a panel, in its data units (`[2]`), or right on it if it is `centred` and there is room."""

    axes: Axes
    place: NDArray[np.float64]
    text: str
    centred: bool = False


def settle(
    figure: Figure, labels: Sequence[Label] = (), marks: Sequence[tuple[Axes, NDArray[np.float64]]] = ()
) -> None:
    """Fix where the panels are, thin ticks that run into each other, then place the labels, each at the nearest free spot.

    Args:
        figure (`Figure`): complete but for these labels.
        labels (`Sequence[Label]`, *optional*): placed in this order.
        marks (`Sequence`, *optional*): panels and `[n, 2]` places in them that labels should leave uncovered.
    """
    figure.draw_without_rendering()
    thinned = [_thin(axes) for axes in figure.axes]  # all of them, not only up to the first
    if any(thinned):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    dots = {axes: np.concatenate([axes.transData.transform(p) for a, p in marks if a is axes]) for axes, _ in marks}
    taken: list[Bbox] = [box for axes in figure.axes for box in _texts_in(axes)]
    for label in labels:
        taken.append(_place(figure, label, dots.get(label.axes, np.empty((0, 2))), taken))


def _thin(axes: Axes) -> bool:
    """Whether the labels of the horizontal axis had to become fewer. Labels at fixed places stay: their maker has made room."""
    locator: Any = axes.xaxis.get_major_locator()
    if not isinstance(locator, MaxNLocator) or not _crowded(axes):
        return False
    for count in range(len(drawn_ticks(axes)) - 1, 0, -1):
        locator.set_params(nbins=count)
        if not _crowded(axes):
            break
    return True


def _crowded(axes: Axes) -> bool:
    boxes = sorted((t.get_window_extent() for t in drawn_ticks(axes)), key=lambda box: box.x0)
    return any(right.x0 - left.x1 < 4 for left, right in itertools.pairwise(boxes))


def drawn_ticks(axes: Axes) -> list[Text]:
    """The labels of the horizontal axis that will be seen."""
    low, high = sorted(axes.get_xlim())
    margin = 1e-9 * (high - low)
    ticks = axes.xaxis.get_major_ticks(len(axes.xaxis.get_majorticklocs()))
    axes.xaxis.get_majorticklabels()  # brings places and texts up to date
    return [
        t.label1
        for t in ticks
        if t.label1.get_text() and t.label1.get_visible() and low - margin <= t.get_loc() <= high + margin
    ]


def _texts_in(axes: Axes) -> list[Bbox]:
    return [t.get_window_extent() for t in axes.texts if t.get_visible() and t.get_text()]


def _place(figure: Figure, label: Label, dots: NDArray[np.float64], taken: Sequence[Bbox]) -> Bbox:
    axes, scale = label.axes, figure.dpi / 72
    text = axes.annotate(
        label.text,
        (float(label.place[0]), float(label.place[1])),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=9.5,
        fontweight="bold",
        color=INK,
        zorder=9,
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "lw": 0.7, "color": INK, "shrinkA": 6, "shrinkB": 4},
    )
    text.set_in_layout(False)
    text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    own = Text.get_window_extent(text, renderer)
    anchor = axes.transData.transform(label.place)
    # A wide text needs to stand farther to the side than above.
    reach = np.array([own.width / 2, own.height / 2]) / scale
    best: tuple[float, NDArray[np.float64], Bbox] | None = None
    spots = [(0.0, np.zeros(2))] if label.centred else []
    for radius, turn in itertools.product(_RADII, range(_TURNS)):
        angle = math.pi / 4 + 2 * math.pi * turn / _TURNS
        way = np.array([math.cos(angle), math.sin(angle)])
        spots.append((radius, way * (radius + reach * np.abs(way))))
    for radius, offset in spots:
        centre = anchor + offset * scale
        half = reach * scale + 1.5
        box = Bbox([centre - half, centre + half])
        cost = _cost(box, axes.bbox, dots, taken) + radius / 40
        if best is None or cost < best[0] - 1e-9:
            best = (cost, offset, box)
        if cost < radius / 40 + 1e-9:
            break
    assert best is not None  # there are radii and turns
    text.set_position((float(best[1][0]), float(best[1][1])))
    if text.arrow_patch is not None and float(np.hypot(*best[1])) < _LEADER + float(reach.max()):
        text.arrow_patch.set_visible(False)
    return best[2]


def _cost(box: Bbox, panel: Bbox, dots: NDArray[np.float64], taken: Sequence[Bbox]) -> float:
    """What speaks against a spot: text under it most, then lying outside the panel, then marks under it."""
    covered = sum(box.overlaps(other) for other in taken)
    outside = not (panel.x0 <= box.x0 and box.x1 <= panel.x1 and panel.y0 <= box.y0 and box.y1 <= panel.y1)
    near = dots[
        (np.abs(dots - [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]) < [box.width / 2 + 4, box.height / 2 + 4]).all(
            axis=1
        )
    ]
    return 1000.0 * covered + 100.0 * outside + 1.0 * len(near)
