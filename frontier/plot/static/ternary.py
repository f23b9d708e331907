"""Draw the weights of three objectives as a triangle: what each request was answered with, or which point is best for whom."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from frontier.errors import InputError, unknown_name
from frontier.plot.colours import colours_of, mix
from frontier.plot.simplex import CORNERS, best_regions, triangle_places
from frontier.plot.static.canvas import write_picture
from frontier.plot.static.keys import COLOURS, bar_key, triangle_key
from frontier.plot.static.labels import Label, settle
from frontier.plot.static.marks import RING, marker_of, pick_marks
from frontier.plot.static.sheet import COLUMN, GREY, INK, new_sheet
from frontier.plot.static.wording import wrap
from frontier.plot.view import Fronts, Layer, View, view_of

BEST = "best"
_LEVELS = 9
_PANEL = 4.6


def plot_ternary(
    fronts: Fronts,
    path: str | os.PathLike[str],
    *,
    by: str = BEST,
    title: str | None = None,
    picks: Mapping[str, int] | None = None,
    dpi: int = 150,
) -> Path:
    """Draw the triangle of weights of three objectives: PNG, SVG or PDF.

    Every corner is one objective alone; a point stands where its weights are. With `by="best"` the triangle is divided into the regions in which each point is the best
    choice (largest weighted sum of rewards), numbered as in `ParetoFront.table`; a point that lies outside its own region was beaten by another at its own weights. With the name
    of an objective, colour shows its mean reward at each point and, between the points, its linear interpolation.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label (a triangle each), over the same three objectives.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        by (`str`, *optional*, defaults to `"best"`): `"best"` or an objective. An objective that is itself called "best" can't be asked for.
        title (`str`, *optional*): over the picture.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture, written beside and renamed.

    Raises:
        InputError: not three objectives, no point with weights, negative weights, an unknown `by`; see `frontier.plot.view.view_of`; or another suffix.
    """
    return write_picture(lambda: draw_ternary(view_of(fronts, None, picks), by, title), path, dpi)


def draw_ternary(view: View, by: str = BEST, title: str | None = None) -> Figure:
    """The figure of `plot_ternary`."""
    _check(view, by)
    if by == BEST:
        key = triangle_key(view.objectives)
        notes = [
            f"Largest weighted sum of mean rewards in {view.unit}, higher is better. A number names the point that is best in its region.",
            *_left_out(view),
        ]
        heading = title or "Which point is best for which weights"
    else:
        column = view.objectives.index(by)
        values = np.concatenate([la.front.rewards[la.steered(), column] for la in view.layers])
        low, high = _span(values)
        key = bar_key(f"Colour: reward of {by} ({view.unit}; higher is better)", low, high)
        notes = [
            f"Mean reward of {by} in {view.unit}; higher is better. Between the points it is interpolated.",
            *_left_out(view),
        ]
        heading = title or f"Reward of {by} for each request"
    across = min(len(view.layers), 2)
    down = -(-len(view.layers) // across)
    side = _PANEL if across == 1 else 3.6
    width = max(8.0, across * (side + 0.9) + COLUMN + 0.4)
    figure = new_sheet(width, down * (side + 0.9), title=heading, notes=notes, marks=_marks(view, by), key=key)
    grid = figure.add_gridspec(down, across)
    labels: list[Label] = []
    marks = []
    for number, layer in enumerate(view.layers):
        axes = figure.add_subplot(grid[number // across, number % across])
        _frame(axes, view, layer.label if len(view.layers) > 1 else "", side)
        places = triangle_places(layer.front.weights[layer.steered()])
        if by == BEST:
            labels += _best(axes, layer)
        else:
            _reward(axes, layer, column, places, low, high)
        faces = (
            colours_of(layer.front.weights, 0)
            if by == BEST
            else [COLOURS((v - low) / (high - low)) for v in layer.front.rewards[:, column]]
        )
        shown = np.flatnonzero(layer.steered())
        size = 44 if by == BEST else 80
        axes.scatter(
            places[:, 0],
            places[:, 1],
            s=size,
            c=[faces[i] for i in shown],
            edgecolors=INK,
            marker=marker_of(number),
            zorder=4,
            clip_on=False,
        )
        for letter, _, index in layer.lettered_picks():
            place = triangle_places(layer.front.weights[[index]])[0]
            axes.plot(*place, **RING, ms=14, zorder=5, clip_on=False)
            labels.append(Label(axes, place, letter))
        marks.append((axes, places))
    settle(figure, labels, marks)
    return figure


def _check(view: View, by: str) -> None:
    if len(view.objectives) != 3:
        hint = "plot_steering" if len(view.objectives) == 2 else "plot_parallel or plot_steering"
        raise InputError(
            f"a triangle of weights needs three objectives, found {len(view.objectives)}: {', '.join(view.objectives)}; use {hint}"
        )
    if by not in (BEST, *view.objectives):
        raise unknown_name("objective in by", by, (BEST, *view.objectives))
    for layer in view.layers:
        weights = layer.front.weights[layer.steered()]
        if not len(weights):
            raise InputError(
                f"no point of {layer.label} has weights in its preference, so it has no place in a triangle of weights"
            )
        if (weights < 0).any() or not (weights.sum(axis=1) > 0).all():
            raise InputError(
                f"a triangle has places only for weights of at least 0 that are not all 0; {layer.label} has others"
            )
        for _, label, index in layer.lettered_picks():
            if not layer.steered()[index]:
                raise InputError(
                    f"pick {label!r} is point {index}, which has no weights and so no place in the triangle"
                )


def _left_out(view: View) -> list[str]:
    without = sum(int((~layer.steered()).sum()) for layer in view.layers)
    return [f"{without} point{'s' if without > 1 else ''} without weights not shown as a mark."] if without else []


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    # Rewards that differ by rounding are one reward, and make no rising levels.
    air = max(0.5, 0.01 * size)
    return (low, high) if high - low > 1e-9 * size else (low - air, high + air)


def _marks(view: View, by: str) -> list[Artist]:
    marks: list[Artist] = [
        Line2D(
            [],
            [],
            marker=marker_of(i),
            ls="none",
            color="#707070",
            mec=INK,
            ms=7,
            label=f"{layer.label}: weights of a point",
        )
        for i, layer in enumerate(view.layers)
    ]
    if by == BEST:
        marks.append(
            Patch(
                facecolor="#d8d8d8",
                edgecolor=INK,
                label="region where the numbered point is best; its colour is that of the weights the point was asked for",
            )
        )
    return [*marks, *pick_marks(view)]


def _frame(axes: Axes, view: View, name: str, side: float) -> None:
    """The triangle, its grid of fifths and its corners with their objectives."""
    axes.set(xlim=(-0.12, 1.12), ylim=(-0.03, 0.9), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    outline = np.concatenate([CORNERS, CORNERS[:1]])
    axes.plot(*outline.T, color=INK, lw=1.1, zorder=3, clip_on=False)
    for share in (0.2, 0.4, 0.6, 0.8):
        for k in range(3):
            ends = np.zeros((2, 3))
            ends[:, k] = share
            ends[0, (k + 1) % 3] = ends[1, (k + 2) % 3] = 1 - share
            axes.plot(*(ends @ CORNERS).T, color=GREY, lw=0.5, ls=(0, (2, 2)), zorder=2.5, alpha=0.8)
    one, two, three = (wrap(f"only {n}", side * 0.4, 10, lines=4) for n in view.objectives)
    above = f"{wrap(name, side, 10, lines=2)}\n\n" if name else ""
    axes.set_title(above + three, fontsize=10, color=INK, pad=4)
    axes.set_xticks([-0.05, 1.05], [one, two], fontsize=10, color=INK)
    left, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
    axes.tick_params(length=0, pad=3)


def _best(axes: Axes, layer: Layer) -> list[Label]:
    """Fill the regions; the numbers to place: at each region's middle, and at the marks of points that are best nowhere near."""
    labels = []
    tints = colours_of(layer.front.weights, 0)
    hatches = ("", "....", "////", "", "\\\\\\\\", "xx")
    for count, (index, corners) in enumerate(best_regions(layer.front.rewards)):
        polygon = corners @ CORNERS
        pale = mix([tints[index], "#ffffff"], (0.45, 0.55))
        axes.fill(*polygon.T, facecolor=pale, edgecolor=INK, lw=0.9, zorder=1)
        hatch = hatches[count % len(hatches)]
        if hatch:
            axes.fill(*polygon.T, facecolor="none", edgecolor=(INK, 0.18), hatch=hatch, lw=0, zorder=1.1)
        labels.append(Label(axes, polygon.mean(axis=0), str(index), centred=True))
    return labels


def _reward(axes: Axes, layer: Layer, column: int, places: NDArray[np.float64], low: float, high: float) -> None:
    """Shade between the points, where there are three or more that span an area."""
    unique, where = np.unique(places.round(9), axis=0, return_inverse=True)
    values = layer.front.rewards[layer.steered(), column]
    if len(unique) < 3 or np.linalg.matrix_rank(unique - unique[0], tol=1e-6) < 2:
        return
    sums = np.bincount(where.ravel(), weights=values) / np.bincount(where.ravel())
    levels = np.linspace(low, high, _LEVELS)
    grid = Triangulation(*unique.T)
    axes.tricontourf(grid, sums, levels=levels, cmap=COLOURS, alpha=0.55, zorder=1)
    axes.tricontour(grid, sums, levels=levels, colors=INK, linewidths=0.5, alpha=0.6, zorder=1.2)
