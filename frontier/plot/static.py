"""Draw fronts as a picture for a report, a model card or a terminal that can't show pages."""

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from frontier.atomic import replace_file
from frontier.plot.colours import BASE, SCALE, triangle_cells
from frontier.plot.view import Fronts, Layer, View, summary_lines, view_of

MARKERS = ("o", "s", "^", "D", "v", "P")
INK = "#303030"
# Beyond this many objectives the panels of a pair matrix are too small to read; the parallel coordinates stay.
MAX_MATRIX = 6


def plot_front(
    fronts: Fronts,
    path: str | os.PathLike[str],
    *,
    title: str = "Pareto front",
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
    dpi: int = 150,
) -> Path:
    """Draw one front or several as a PNG.

    Two objectives give one scatter plot, three give their three projections side by side, more give parallel coordinates over a matrix of pairs. Colour tells the weights that a
    point was asked for (three objectives: a mixture of three hues, explained by a triangle), a hollow marker a dominated point, a star the reference policy, a ring a pick.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label (steerable, soups, ...) over the same objectives.
        path (`str` or `PathLike`): where to write; folders are made.
        title (`str`, *optional*): over the picture; a line with hypervolume, reference point, EUM, MIP and gap follows by itself.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.
        dpi (`int`, *optional*, defaults to 150): pixels per inch.

    Returns:
        `Path`: the picture. It is written beside and renamed: there is never half a file.

    Raises:
        InputError: see `frontier.plot.view.view_of`.
    """
    view = view_of(fronts, colour_by, picks)
    count = len(view.objectives)
    width = {2: 9.2, 3: 15.5}.get(count, 12.5)
    # At 9 points about 13 characters take an inch; names may be long.
    lines = [part for line in summary_lines(view) for part in textwrap.wrap(line, int(13 * (width - 0.2)))]
    header = 0.5 + 0.18 * len(lines)
    figure = (_two if count == 2 else _three if count == 3 else _many)(view, width, header)
    height, left = figure.get_figheight(), 0.1 / width
    figure.text(left, 1 - 0.1 / height, title, va="top", fontsize=14, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.4 / height, "\n".join(lines), va="top", fontsize=9, color=INK, linespacing=1.35)
    figure.text(left, 0.1 / height, view.units, fontsize=8, color="#606060")
    FigureCanvasAgg(figure)
    with replace_file(path) as beside:
        figure.savefig(beside, format="png", dpi=dpi, facecolor="white")
    return Path(path)


def _two(view: View, width: float, header: float) -> Figure:
    height = 5.6 + header
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.1, 0.78 / height, 0.61, 4.75 / height))
    _scatter(axes, view, 0, 1)
    axes.set_xlabel(view.axis(0))
    axes.set_ylabel(view.axis(1).replace("; ", "\n"))
    _legend(figure, view, (0.735, 1 - header / height))
    _colour_bar(figure, view, (0.75, 1.0 / height, 0.022, 1.85 / height))
    return figure


def _three(view: View, width: float, header: float) -> Figure:
    height = 4.55 + header
    figure = Figure(figsize=(width, height))
    for i, (x, y) in enumerate(view.pairs):
        axes = figure.add_axes((0.05 + i * 0.272, 0.85 / height, 0.215, 3.6 / height))
        _scatter(axes, view, x, y, letters=True)
        axes.set_xlabel(view.objectives[x])
        axes.set_ylabel(view.objectives[y])
    _legend(figure, view, (0.85, 1 - header / height))
    _ternary_key(figure, view, (0.865, 0.85 / height, 0.11, 1.6 / height))
    return figure


def _many(view: View, width: float, header: float) -> Figure:
    count = len(view.objectives)
    rows = count - 1 if count <= MAX_MATRIX else 0
    parallel, panel = 3.1, 1.9
    height = header + parallel + 0.65 + rows * panel + 0.5
    figure = Figure(figsize=(width, height))
    base = 1 - (header + parallel) / height
    _parallel(figure.add_axes((0.07, base, 0.72, (parallel - 0.1) / height)), view)
    _legend(figure, view, (0.81, 1 - header / height))
    _colour_bar(figure, view, (0.825, base, 0.016, 1.2 / height))
    for row in range(rows):
        for column in range(row + 1):
            bottom = 0.55 + (rows - 1 - row) * panel
            step = 0.92 / rows
            axes = figure.add_axes(
                (0.07 + column * step, (bottom + 0.15) / height, step * 0.85, (panel - 0.35) / height)
            )
            _scatter(axes, view, column, row + 1, size=22, letters=True)
            axes.tick_params(labelsize=7)
            if row == rows - 1:
                axes.set_xlabel(view.objectives[column], fontsize=9)
            if column == 0:
                axes.set_ylabel(view.objectives[row + 1], fontsize=9)
    return figure


def _scatter(axes: Axes, view: View, x: int, y: int, size: float = 46, letters: bool = False) -> None:
    _plain(axes)
    several = len(view.layers) > 1
    for number, layer in enumerate(view.layers):
        rewards, errors = layer.front.rewards, np.nan_to_num(layer.front.standard_errors)
        axes.errorbar(
            rewards[:, x],
            rewards[:, y],
            errors[:, y],
            errors[:, x],
            fmt="none",
            ecolor="#b0b0b0",
            elinewidth=0.7,
            zorder=1,
        )
        if len(view.objectives) == 2:
            line = rewards[layer.kept][np.argsort(rewards[layer.kept, 0])]
            axes.plot(line[:, 0], line[:, 1], color="#a0a0a0", lw=1, ls=("-", "--", ":", "-.")[number % 4], zorder=1)
        edge = [INK if keep else colour for keep, colour in zip(layer.kept, layer.colours, strict=True)]
        face = [colour if keep else "white" for keep, colour in zip(layer.kept, layer.colours, strict=True)]
        axes.scatter(
            rewards[:, x],
            rewards[:, y],
            s=size,
            c=face,
            edgecolors=edge,
            linewidths=[0.6 if keep else 1.3 for keep in layer.kept],
            marker=MARKERS[number % len(MARKERS)],
            zorder=4 if several and number == 0 else 3,
        )
        _mark_picks(axes, layer, x, y, size, letters)
    for reference in view.references:
        axes.plot(reference.rewards[x], reference.rewards[y], **_STAR, ms=size**0.5 * 2, zorder=6)


_STAR: dict[str, Any] = {"marker": "*", "color": "#000000", "mec": "white", "mew": 0.8, "ls": "none"}


def _mark_picks(axes: Axes, layer: Layer, x: int, y: int, size: float, letters: bool) -> None:
    for letter, label, index in layer.lettered_picks():
        place = layer.front.points[index].rewards
        axes.scatter(place[x], place[y], s=size * 3.6, facecolors="none", edgecolors="black", linewidths=1.4, zorder=5)
        text = axes.annotate(
            letter if letters else label,
            (place[x], place[y]),
            xytext=(8, 7),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold",
            zorder=7,
        )
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _parallel(axes: Axes, view: View) -> None:
    """One line a point over one axis an objective, each axis running from the smallest to the largest reward."""
    low, high = view.extents()
    extent = np.where(high > low, high - low, 1.0)
    columns = np.arange(len(view.objectives))
    for number, layer in enumerate(view.layers):
        for i, row in enumerate((layer.front.rewards - low) / extent):
            style = "-" if layer.kept[i] else ":"
            axes.plot(columns, row, style, color=layer.colours[i], lw=1.4 if layer.kept[i] else 1.0, zorder=2)
            axes.plot(columns, row, MARKERS[number % len(MARKERS)], color=layer.colours[i], ms=4, zorder=3)
        for label, index in layer.picks.items():
            row = (layer.front.rewards[index] - low) / extent
            axes.plot(columns, row, "-", color="black", lw=2.4, zorder=4)
            axes.annotate(
                label, (columns[-1], row[-1]), xytext=(6, -3), textcoords="offset points", fontsize=9, fontweight="bold"
            )
    for reference in view.references:
        axes.plot(columns, (np.array(reference.rewards) - low) / extent, color="black", lw=1.2, ls="--", zorder=4)
        axes.plot(columns, (np.array(reference.rewards) - low) / extent, **_STAR, ms=11, zorder=5)
    names = [f"{name}\n{lo:.2f} to {hi:.2f}" for name, lo, hi in zip(view.objectives, low, high, strict=True)]
    axes.set_xticks(columns, names, fontsize=9)
    axes.set_yticks([0, 1], ["worst", "best"], fontsize=9)
    axes.set_xlim(-0.15, len(columns) - 0.75 if any(la.picks for la in view.layers) else len(columns) - 0.85)
    _plain(axes)
    axes.grid(True, axis="x", color="#909090", lw=0.9)


def _plain(axes: Axes) -> None:
    axes.grid(True, color="#ececec", lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#909090")
    axes.tick_params(color="#909090", labelcolor=INK)
    axes.margins(0.09)


def _legend(figure: Figure, view: View, anchor: tuple[float, float]) -> None:
    handles = [
        Line2D([], [], marker=MARKERS[i % len(MARKERS)], ls="none", color="#707070", mec=INK, ms=7, label=layer.label)
        for i, layer in enumerate(view.layers)
    ]
    if any(not layer.kept.all() for layer in view.layers):
        handles.append(
            Line2D([], [], marker="o", ls="none", mfc="white", mec="#707070", ms=7, label="dominated (hollow)")
        )
    if view.references:
        handles.append(Line2D([], [], **_STAR, ms=13, label="reference policy"))
    for letter, label, _ in view.layers[0].lettered_picks():
        name = f"{letter}: {label} (picked)" if len(view.objectives) > 2 else f"{label} (picked)"
        handles.append(Line2D([], [], marker="o", ls="none", mfc="none", mec="black", mew=1.4, ms=11, label=name))
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=anchor, frameon=False, fontsize=9, labelspacing=0.7)


def _colour_bar(figure: Figure, view: View, place: tuple[float, float, float, float]) -> None:
    axes = figure.add_axes(place)
    axes.imshow(
        np.linspace(1, 0, 128)[:, None],
        aspect="auto",
        cmap=LinearSegmentedColormap.from_list("weight", SCALE),
        extent=(0, 1, 0, 1),
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.set_yticks([0, 0.5, 1])
    axes.tick_params(labelsize=8)
    axes.set_title(f"weight asked\nfor {view.colour_by}", fontsize=9, loc="left", color=INK)


def _ternary_key(figure: Figure, view: View, place: tuple[float, float, float, float]) -> None:
    axes = figure.add_axes(place)
    cells = triangle_cells()
    axes.add_collection(
        PolyCollection([c for c, _ in cells], facecolors=[colour for _, colour in cells], edgecolors="face")
    )
    names = view.objectives
    lower = -0.08 if len(names[0] + names[1]) < 24 else -0.22  # long names stand one under the other
    places = ((-0.2, -0.08, "left", "top"), (1.2, lower, "right", "top"), (0.5, 0.93, "center", "bottom"))
    for k, (x, y, horizontal, vertical) in enumerate(places):
        axes.text(x, y, names[k], ha=horizontal, va=vertical, fontsize=8.5, color=INK)
        axes.plot(*[(0, 0), (1, 0), (0.5, 0.75**0.5)][k], "o", color=BASE[k], mec=INK, ms=5, clip_on=False)
    axes.set(xlim=(-0.15, 1.15), ylim=(-0.05, 1.0), aspect="equal")
    axes.set_axis_off()
    axes.set_title("weights asked for", fontsize=9, color=INK, pad=10)
