"""Draw fronts of many objectives as parallel coordinates: one line a point over one axis an objective."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from frontier.plot.static.canvas import write_picture
from frontier.plot.static.keys import weights_key
from frontier.plot.static.labels import Label, settle
from frontier.plot.static.marks import STAR, front_marks, marker_of
from frontier.plot.static.sheet import COLUMN, INK, SMALL, new_sheet, plain
from frontier.plot.static.wording import NumberFormatter, wrap
from frontier.plot.view import Fronts, View, summary_lines, view_of


def plot_parallel(
    fronts: Fronts,
    path: str | os.PathLike[str],
    *,
    title: str = "Rewards of every point",
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
    dpi: int = 150,
) -> Path:
    """Draw fronts as parallel coordinates: PNG, SVG or PDF.

    Each axis runs from the smallest reward at its foot to the largest on top, both written there. Lines that cross between two axes are a trade-off between these two objectives.
    Colour tells the weights asked for, a dotted line a dominated point, a thick black one with a letter a pick.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label, over the same two or more objectives.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        title (`str`, *optional*): over the picture.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture, written beside and renamed.

    Raises:
        InputError: see `frontier.plot.view.view_of`, or another suffix.
    """
    return write_picture(lambda: draw_all_parallel(view_of(fronts, colour_by, picks), title), path, dpi)


def draw_all_parallel(view: View, title: str) -> Figure:
    """The figure of `plot_parallel`."""
    width = min(12.0, 8.0 + 0.6 * len(view.objectives))
    figure = new_sheet(
        width,
        5.2,
        title=title,
        lines=summary_lines(view),
        notes=[f"Mean rewards in {view.unit}; higher is better. Each axis has its own scale."],
        marks=front_marks(view, lines=True),
        key=weights_key(view),
    )
    labels = draw_parallel(figure.add_subplot(), view, width - COLUMN - 0.6)
    settle(figure, labels)
    return figure


def draw_parallel(axes: Axes, view: View, room: float) -> list[Label]:
    """Draw into a panel `room` inches wide; returns the letters of the picks, to be placed once the layout is settled."""
    low, high = view.extents()
    extent = np.where(high > low, high - low, 1.0)
    columns = np.arange(len(view.objectives))

    def height_of(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(high > low, (rewards - low) / extent, 0.5)

    plain(axes)
    labels = []
    for number, layer in enumerate(view.layers):
        for i, row in enumerate(height_of(layer.front.rewards)):
            keep, colour = layer.kept[i], layer.colours[i]
            axes.plot(columns, row, "-" if keep else ":", color=colour, lw=1.4 if keep else 1.1, zorder=2)
            face = colour if keep else "white"
            axes.plot(columns, row, marker_of(number), color=colour, mfc=face, ms=4.5, zorder=3)
        for letter, _, index in layer.lettered_picks():
            row = height_of(layer.front.rewards[index])
            axes.plot(columns, row, "-", color="black", lw=2.4, zorder=4)
            labels.append(Label(axes, np.array([columns[-1], row[-1]]), letter))
    for reference in view.references:
        row = height_of(np.array(reference.rewards))
        axes.plot(columns, row, color="black", lw=1.2, ls="--", zorder=4)
        axes.plot(columns, row, **STAR, ms=11, zorder=5)
    _ends(axes, view, low, high, room / len(columns))
    axes.set(xlim=(-0.4, len(columns) - 0.6), ylim=(-0.05, 1.05), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(True, axis="x", color="#808080", lw=1.0)
    axes.tick_params(axis="x", length=0, pad=2)
    return labels


def _ends(axes: Axes, view: View, low: NDArray[np.float64], high: NDArray[np.float64], room: float) -> None:
    """Name each axis and write its largest reward above it and its smallest below."""
    above, below = [], []
    for k, name in enumerate(view.objectives):
        # A hundredth of the range is as exact as a reader can see.
        step = 10.0 ** np.floor(np.log10(max(high[k] - low[k], 1e-12 * max(1.0, abs(high[k]))) / 50))
        shown = NumberFormatter([low[k] - low[k] % step, low[k] - low[k] % step + step, high[k] - high[k] % step])
        named = wrap(name, room - 0.1, 10, lines=3)
        above.append("" if low[k] == high[k] else f"{shown(high[k])}\n▲ best")
        alone = f"all {low[k]:.4g}".replace("-", "−") if low[k] == high[k] else f"{shown(low[k])}\nworst"
        below.append(f"{alone}\n{named}")
    axes.set_xticks(range(len(below)), below, fontsize=SMALL, color=INK, linespacing=1.25)
    top = axes.secondary_xaxis("top")
    top.set_xticks(range(len(above)), above, fontsize=SMALL, color=INK)
    top.tick_params(length=0, pad=2)
    top.spines["top"].set_visible(False)
