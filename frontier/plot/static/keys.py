"""Explain the colours of a picture: a bar for a number, a triangle for the weights of three objectives."""

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from frontier.plot.colours import BASE, SCALE, triangle_cells
from frontier.plot.simplex import CORNERS
from frontier.plot.static.sheet import COLUMN, INK, SMALL, Key, inches
from frontier.plot.static.wording import height_of, numbered, wrap
from frontier.plot.view import View

COLOURS = LinearSegmentedColormap.from_list("moalign", SCALE)
_BAR = 1.7


def weights_key(view: View) -> Key | None:
    """What the colours of a view's points mean; `None` where no point has weights."""
    if not any(layer.steered().any() for layer in view.layers):
        return None
    if len(view.objectives) == 3:
        return triangle_key(view.objectives)
    return bar_key(f"Colour: weight asked for {view.colour_by}", 0.0, 1.0)


def bar_key(title: str, low: float, high: float) -> Key:
    """The plasma scale from `low` to `high` under a title."""
    heading = wrap(title, COLUMN - 0.35, SMALL, lines=4)
    above = height_of(heading, SMALL) + 0.08

    def draw(figure: Figure, place: tuple[float, float, float, float]) -> None:
        left, bottom, _, height = place
        axes = figure.add_axes(inches(figure, (left, bottom + 0.08, 0.22, _BAR)))
        axes.imshow(np.linspace(1, 0, 128)[:, None], aspect="auto", cmap=COLOURS, extent=(0, 1, low, high))
        axes.set_xticks([])
        axes.yaxis.tick_right()
        numbered(axes.yaxis, _BAR)
        axes.tick_params(labelsize=SMALL, labelcolor=INK)
        _write(figure, left, bottom + height, heading)

    return Key(above + _BAR + 0.16, draw)


def triangle_key(objectives: tuple[str, ...]) -> Key:
    """The triangle whose colours mix the three hues by weight; its corners are numbered and named below."""
    heading = wrap("Colour: weights asked for", COLUMN - 0.35, SMALL)
    names = "\n".join(wrap(f"{k + 1}: {name}", COLUMN - 0.35, SMALL, lines=3) for k, name in enumerate(objectives))
    side = 1.5
    tall = side * 0.87 + 0.5
    above, below = height_of(heading, SMALL) + 0.05, height_of(names, SMALL) + 0.08

    def draw(figure: Figure, place: tuple[float, float, float, float]) -> None:
        """Corners at the bottom left and right and at the top, in the given place (inches)."""
        left, bottom, _, height = place
        axes = figure.add_axes(inches(figure, (left, bottom + below, side + 0.5, tall)))
        cells = triangle_cells()
        fills = [colour for _, colour in cells]
        axes.add_collection(PolyCollection([corners for corners, _ in cells], facecolors=fills, edgecolors="face"))
        for k, (x, y) in enumerate(CORNERS):
            axes.plot(x, y, "o", color=BASE[k], mec=INK, ms=6, clip_on=False)
            up = k == 2
            axes.text(
                x, y + (0.07 if up else -0.07), str(k + 1), ha="center", va="bottom" if up else "top", fontsize=SMALL
            )
        axes.set(xlim=(-0.16, -0.16 + (side + 0.5) / side), ylim=(-0.2, -0.2 + tall / side))
        axes.set_axis_off()
        _write(figure, left, bottom + height, heading)
        _write(figure, left, bottom + below - 0.02, names)

    return Key(above + tall + below, draw)


def _write(figure: Figure, left: float, top: float, text: str) -> None:
    x, y, _, _ = inches(figure, (left, top, 0, 0))
    figure.text(x, y, text, va="top", fontsize=SMALL, color=INK, linespacing=1.2)
