"""Draw two fronts against each other: what only one of them attains, and by how much they differ."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from frontier.errors import InputError
from frontier.front import ParetoFront
from frontier.plot.attained import AttainedShares, attained_shares
from frontier.plot.colours import BASE, mix
from frontier.plot.simplex import EUM_WEIGHTS, even_weights
from frontier.plot.static.canvas import write_picture
from frontier.plot.static.labels import settle
from frontier.plot.static.marks import HATCHES, STAR, line_of, marker_of, series_of
from frontier.plot.static.sheet import GREY, INK, new_sheet, plain
from frontier.plot.static.wording import height_of, numbered, wrap
from frontier.plot.view import Fronts, Layer, View, place_of, view_of

_ROUNDING = 1e-12  # of the size of the numbers
_ROW, _SIZE = 0.3, 10.0  # inches a line of the table, points of its letters


def plot_comparison(fronts: Fronts, path: str | os.PathLike[str], *, title: str | None = None, dpi: int = 150) -> Path:
    """Draw two fronts against each other: PNG, SVG or PDF.

    Two objectives: the plane above the common reference point, shaded by who attains it (only the first front, only the second, both), with the areas. More: a table of
    their figures and differences. Only means are compared here; whether a difference is more than chance is for a test on the same prompts.

    Args:
        fronts (`Mapping[str, ParetoFront]`): exactly two by label, over the same objectives and with the same normaliser.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        title (`str`, *optional*): over the picture.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture, written beside and renamed.

    Raises:
        InputError: other than two fronts; see `frontier.plot.view.view_of`; or another suffix.
    """
    return write_picture(lambda: draw_comparison(view_of(fronts), title), path, dpi)


def draw_comparison(view: View, title: str | None = None) -> Figure:
    """The figure of `plot_comparison`."""
    if len(view.layers) != 2:
        labels = ", ".join(layer.label for layer in view.layers)
        raise InputError(
            f"a comparison needs two fronts by label, found {len(view.layers)}: {labels}; plot_front takes any number"
        )
    first, second = view.layers
    heading = title or f"{first.label} against {second.label}"
    return _shaded(view, heading) if len(view.objectives) == 2 else _table(view, heading)


def _shaded(view: View, title: str) -> Figure:
    first, second = view.layers
    shares = attained_shares(first.front.rewards, second.front.rewards, view.reference_point)
    fills = (mix([BASE[0], "#ffffff"], (0.35, 0.65)), mix([BASE[1], "#ffffff"], (0.35, 0.65)), "#ececec")
    names = (f"only {first.label} attains", f"only {second.label} attains", "both attain")
    areas = (shares.only_first, shares.only_second, shares.both)
    marks: list[Artist] = [_front_mark(i, layer) for i, layer in enumerate(view.layers)]
    marks += [
        Patch(facecolor=fill, edgecolor=INK, lw=0.5, hatch=hatch, label=f"{name}: area {area:.3g}")
        for fill, hatch, name, area in zip(fills, (*HATCHES[:2], None), names, areas, strict=True)
    ]
    if any(not layer.kept.all() for layer in view.layers):
        marks.append(
            Line2D(
                [], [], marker="o", ls="none", mfc="white", mec=INK, ms=7, label="dominated within its front (hollow)"
            )
        )
    marks.append(
        Line2D(
            [],
            [],
            marker="+",
            ls="none",
            color="black",
            ms=11,
            mew=1.6,
            label="reference point, from which areas count",
        )
    )
    if view.references:
        marks.append(Line2D([], [], **STAR, ms=13, label="reference policy"))
    lines = [
        f"Area above the reference point ({place_of(view)}): only {first.label} {areas[0]:.3g}, only {second.label} {areas[1]:.3g}, both {areas[2]:.3g}"
    ]
    notes = [
        f"Mean rewards in {view.unit}; higher is better; areas in its square.",
        "Shaded: what some point of the front reaches in both rewards. Means only: a test on the same prompts tells whether a difference is more than chance.",
    ]
    figure = new_sheet(10.0, 5.4, title=title, lines=lines, notes=notes, marks=marks)
    axes = figure.add_subplot()
    plain(axes)
    axes.grid(False)
    _fill(axes, shares, fills)
    for number, layer in enumerate(view.layers):
        _stairs(axes, shares.edges, (shares.first, shares.second)[number], shares.floor, number)
        face = [series_of(number) if keep else "white" for keep in layer.kept]
        edge = ["white" if keep else series_of(number) for keep in layer.kept]
        axes.scatter(
            layer.front.rewards[:, 0],
            layer.front.rewards[:, 1],
            s=46,
            c=face,
            edgecolors=edge,
            marker=marker_of(number),
            linewidths=1,
            zorder=4,
        )
    for reference in view.references:
        axes.plot(*reference.rewards, **STAR, ms=13, zorder=5)
    axes.plot(*view.reference_point, marker="+", color="black", ms=11, mew=1.6, ls="none", zorder=5)
    axes.margins(0.06)
    numbered(axes.xaxis, 6.4)
    numbered(axes.yaxis, 4.8)
    axes.set_xlabel("\n".join(wrap(line, 6.0, 10, lines=3) for line in view.axis_lines(0)))
    axes.set_ylabel("\n".join(wrap(line, 4.3, 10, lines=3) for line in view.axis_lines(1)))
    settle(figure)
    return figure


def _front_mark(number: int, layer: Layer) -> Line2D:
    look: dict[str, Any] = {"color": series_of(number), "ls": line_of(number), "marker": marker_of(number), "lw": 1.5}
    return Line2D([], [], **look, mec="white", ms=7, label=f"{layer.label}, and what it attains")


def _fill(axes: Axes, shares: AttainedShares, fills: Sequence[str]) -> None:
    """Shade each part as few polygons as it has pieces, so that no seams show between its strips."""
    common = np.minimum(shares.first, shares.second)
    parts = [(common, shares.first), (common, shares.second), (np.full_like(common, shares.floor), common)]
    for (bottom, top), fill, hatch in zip(parts, fills, (*HATCHES[:2], None), strict=True):
        strips = np.flatnonzero(top > bottom)
        for piece in np.split(strips, np.flatnonzero(np.diff(strips) > 1) + 1):
            if len(piece):
                x = shares.edges[np.repeat(np.append(piece, piece[-1] + 1), 2)[1:-1]]
                outline = (
                    np.concatenate([x, x[::-1]]),
                    np.concatenate([np.repeat(top[piece], 2), np.repeat(bottom[piece], 2)[::-1]]),
                )
                axes.fill(*outline, facecolor=fill, edgecolor=(INK, 0.45), hatch=hatch, lw=0, zorder=1)


def _stairs(axes: Axes, edges: NDArray[np.float64], heights: NDArray[np.float64], floor: float, number: int) -> None:
    """The edge of what a front attains."""
    reached = heights > floor
    if not reached.any():
        return
    last = int(np.flatnonzero(reached)[-1])
    x = np.concatenate([edges[: last + 2], edges[last + 1 : last + 2]])
    y = np.concatenate([heights[: last + 1], heights[last : last + 1], [floor]])
    axes.plot(x, y, drawstyle="steps-post", color=series_of(number), ls=line_of(number), lw=1.5, zorder=3)


@dataclass(frozen=True)
class Figures:
    """One line of the table: what it is, both values, their difference, and which is better (1, 2, or 0 for neither)."""

    name: str
    first: str
    second: str
    difference: str
    better: int


def compared_figures(view: View) -> list[Figures]:
    """What the table of two fronts says: hypervolume, EUM over the same weights, MIP, gap, steering, and the best reward of each objective."""
    fronts = [layer.front for layer in view.layers]
    weights = even_weights(len(view.objectives), EUM_WEIGHTS)
    size = max(float(np.abs(front.rewards).max()) for front in fronts)

    def steered(of: Callable[[ParetoFront], float]) -> list[float]:
        return [of(layer.front) if layer.steered().any() else math.nan for layer in view.layers]

    volumes = [front.hypervolume(view.reference_point).value for front in fronts]
    served = [front.eum(weights) for front in fronts]
    rows = [
        _figures("hypervolume", volumes, 1, max(volumes)),
        _figures(f"EUM (best point for each of {len(weights)} even weights)", served, 1, size),
        _figures("MIP (point that was asked for, over the front's own weights)", steered(ParetoFront.mip), 1, size),
        _figures(
            "controllability gap (own weights, lower is better)", steered(ParetoFront.controllability_gap), -1, size
        ),
    ]
    correlations = [layer.front.steering() if layer.steered().any() else {} for layer in view.layers]
    for name in view.objectives:
        rows.append(_figures(f"steering {name}", [found.get(name, math.nan) for found in correlations], 1, 1.0))
    for k, name in enumerate(view.objectives):
        best = [float(front.rewards[:, k].max()) for front in fronts]
        rows.append(_figures(f"best reward of {name}", best, 1, size))
    kept = [int(layer.kept.sum()) for layer in view.layers]
    more = f"{kept[0] - kept[1]:+d}".replace("-", "−") if kept[0] != kept[1] else "0"
    rows.append(Figures("non-dominated points", str(kept[0]), str(kept[1]), more, 0))
    return rows


def _figures(name: str, values: Sequence[float], sign: int, size: float) -> Figures:
    """One line; what is within rounding of numbers as large as `size` is equal."""
    gain = values[0] - values[1]
    if abs(gain) <= _ROUNDING * size:
        gain = 0.0
    shown = [_shown(0.0 if abs(v) <= _ROUNDING * size else v) for v in values]
    better = 0 if np.isnan(gain) or gain == 0 else 1 if gain * sign > 0 else 2
    return Figures(name, shown[0], shown[1], _shown(gain, "+" if gain else ""), better)


def _shown(value: float, sign: str = "") -> str:
    """Three places, and three digits of what is too small for them: a difference that decides must be seen."""
    if np.isnan(value):
        return "–"
    form = ".3e" if abs(value) >= 1e5 else ".3f" if value == 0 or abs(value) >= 0.01 else ".3g"
    return format(value, sign + form).replace("-", "−")


def _table(view: View, title: str) -> Figure:
    """Lines of text at fixed columns; the better value of each line is bold and marked."""
    first, second = (layer.label for layer in view.layers)
    width, starts = 10.5, (0.12, 5.0, 7.0, 8.6)
    ends = (5.0 - 0.3, 6.6, 8.4, 10.3)
    heads = [wrap(text, 1.55, _SIZE, lines=3, weight="bold") for text in (first, second, "first less second")]
    rows = compared_figures(view)
    names = [wrap(row.name, ends[0] - starts[0] - 0.2, _SIZE, lines=3) for row in rows]
    tall = [max(_ROW, height_of(name, _SIZE) + 0.1) for name in names]
    head = max(height_of(text, _SIZE) for text in heads) + 0.12
    lines = [f"Hypervolume above the reference point ({place_of(view)})."]
    notes = [
        f"Rewards in {view.unit}; higher is better unless said. ◀ marks the better of the two.",
        "Means only: a test on the same prompts tells whether a difference is more than chance.",
    ]
    figure = new_sheet(width, head + sum(tall) + 0.15, title=title, lines=lines, notes=notes)
    body = figure.get_layout_engine().get()["rect"]  # type: ignore[union-attr]
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, body[1], 1, body[3]))
    axes.set(xlim=(0, width), ylim=(head + sum(tall) + 0.15, 0))
    axes.set_axis_off()
    for end, text in zip(ends[1:], heads, strict=True):
        axes.text(end - 0.2, head - 0.08, text, ha="right", va="bottom", fontsize=_SIZE, fontweight="bold", color=INK)
    axes.hlines(head, 0.12, width - 0.12, color=INK, lw=1.0)
    y = head
    for row, name, height in zip(rows, names, tall, strict=True):
        middle = y + height / 2
        axes.text(starts[0], middle, name, va="center", fontsize=_SIZE, color=INK, linespacing=1.2)
        for place, (end, text) in enumerate(zip(ends[1:], (row.first, row.second, row.difference), strict=True)):
            won = place + 1 == row.better
            shown = f"{text} ◀" if won else text
            # Figures stand in line whether or not a mark follows.
            axes.text(
                end - 0.2 + (0.17 if won else 0),
                middle,
                shown,
                ha="right",
                va="center",
                fontsize=_SIZE,
                fontweight="bold" if won else "normal",
                color=INK,
            )
        y += height
        axes.hlines(y, 0.12, width - 0.12, color="#dedede", lw=0.7)
    axes.hlines(y, 0.12, width - 0.12, color=GREY, lw=0.9)
    settle(figure)
    return figure
