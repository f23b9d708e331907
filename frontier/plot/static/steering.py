"""Draw steering curves: what happens to each reward when more of one objective is asked for."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from frontier.errors import InputError
from frontier.plot.curves import SteeringCurve, steering_curve
from frontier.plot.static.canvas import write_picture
from frontier.plot.static.labels import settle
from frontier.plot.static.marks import curve_mark, line_of, marker_of, series_of
from frontier.plot.static.sheet import COLUMN, SMALL, new_sheet, plain
from frontier.plot.static.wording import numbered, wrap
from frontier.plot.view import Fronts, View, view_of

_OBEYS = "#eef4ea"  # behind the panels in which a curve should rise


def plot_steering(
    fronts: Fronts, path: str | os.PathLike[str], *, title: str = "Steering curves", dpi: int = 150
) -> Path:
    """Draw each reward against each weight with 95 % bands: PNG, SVG or PDF.

    A row per reward, a column per weight. On the shaded diagonal stands the reward of what was asked for: there a policy that obeys rises. Where points share a weight but differ
    in the others, the curve is their mean and small dots are the points (see `frontier.plot.curves.steering_curve`).

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label, over the same objectives, one or more; points without weights are left out.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        title (`str`, *optional*): over the picture.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture, written beside and renamed.

    Raises:
        InputError: a front whose points have no weights; see `frontier.plot.view.view_of`; or another suffix.
    """
    return write_picture(lambda: draw_steering(view_of(fronts, least=1), title), path, dpi)


def draw_steering(view: View, title: str) -> Figure:
    """The figure of `plot_steering`."""
    for layer in view.layers:
        if not layer.steered().any():
            raise InputError(
                f"no point of {layer.label} has weights in its preference, so there is no steering to draw; "
                "measure it at several weights (moalign front), or draw the points alone with plot_front"
            )
    count = len(view.objectives)
    width = 8.6 if count == 1 else 10.0 if count == 2 else 12.0
    side = (width - COLUMN - 0.7) / count
    tall = {1: 4.2, 2: 2.9, 3: 2.5}.get(count, max(1.5, side))
    curves = [
        [[steering_curve(layer.front, i, j) for j in range(count)] for i in range(count)] for layer in view.layers
    ]
    figure = new_sheet(
        width,
        count * tall + 0.7,
        title=title,
        lines=_steering_lines(view),
        notes=_notes(view, [c for rows in curves for row in rows for c in row]),
        marks=_marks(view),
    )
    panels: Any = figure.subplots(count, count, sharex="col", sharey="row", squeeze=False)
    small = SMALL if count <= 3 else 8
    for i, j in np.ndindex(count, count):
        axes = panels[i, j]
        plain(axes)
        if i == j and count > 1:
            axes.set_facecolor(_OBEYS)
        for number, layer in enumerate(view.layers):
            known = layer.steered()
            if (curves[number][i][j].counts > 1).any():
                places = layer.front.weights[known, j], layer.front.rewards[known, i]
                axes.scatter(*places, s=9, marker=marker_of(number), color=series_of(number), alpha=0.3, lw=0, zorder=2)
            _curve(axes, curves[number][i][j], number, small=count > 3)
        for reference in view.references:
            axes.axhline(reference.rewards[i], color="black", lw=0.9, ls=(0, (1, 1.5)), zorder=1.5)
        axes.margins(0.06)
        axes.tick_params(labelsize=small)
        numbered(axes.xaxis, side)
        numbered(axes.yaxis, tall, 0.4)
        if i == count - 1:
            axes.set_xlabel(wrap(f"weight of {view.objectives[j]}", side - 0.15, 9.5, lines=3), fontsize=9.5)
        if j == 0:
            axes.set_ylabel(wrap(f"{view.objectives[i]} →", tall - 0.2, 9.5, lines=3), fontsize=9.5)
    settle(figure)
    return figure


def _curve(axes: Axes, curve: SteeringCurve, number: int, *, small: bool) -> None:
    colour = series_of(number)
    axes.fill_between(curve.weights, curve.low, curve.high, color=colour, alpha=0.18, lw=0, zorder=1)
    # One level has no width to fill, and the edges of a band must be seen in black and white.
    if len(curve.weights) == 1:
        axes.errorbar(
            curve.weights, curve.means, np.nan_to_num(curve.high - curve.means), color=colour, fmt="none", capsize=4
        )
    for edge in (curve.low, curve.high):
        axes.plot(curve.weights, edge, color=colour, lw=0.6, alpha=0.7, zorder=1)
    axes.plot(
        curve.weights,
        curve.means,
        color=colour,
        lw=1.7,
        ls=line_of(number),
        marker=marker_of(number),
        ms=3.5 if small else 5,
        mec="white",
        mew=0.5,
        zorder=3,
    )


def _steering_lines(view: View) -> list[str]:
    """Spearman's correlations, which say in a number what the diagonal shows."""
    lines = []
    for layer in view.layers:
        found = layer.front.steering()
        shown = ", ".join(f"{name} {'–' if np.isnan(v) else format(v, '.2f')}" for name, v in found.items())
        lines.append(
            f"{layer.label + ': ' if len(view.layers) > 1 else ''}rank correlation of weight and reward: {shown}"
        )
    return lines


def _notes(view: View, curves: Sequence[SteeringCurve]) -> list[str]:
    """What the axes mean and how the curves came about."""
    notes = [f"Upward: mean reward in {view.unit}; higher is better. To the right: weight asked for, without unit."]
    if any((c.counts > 1).any() for c in curves):
        what = (
            "the mean of the points in each of 8 bins of the weight"
            if any(c.binned for c in curves)
            else "the mean of the points at that weight"
        )
        notes.append(f"A curve is {what}; dots are the points, which differ in their other weights.")
    if any(np.isnan(c.low).any() for c in curves):
        notes.append("No band where a standard error is not known.")
    without = sum(int((~layer.steered()).sum()) for layer in view.layers)
    if without:
        notes.append(f"{without} point{'s' if without > 1 else ''} without weights left out.")
    return notes


def _marks(view: View) -> list[Artist]:
    marks: list[Artist] = [curve_mark(i, layer.label) for i, layer in enumerate(view.layers)]
    marks.append(Patch(facecolor="#d5d5d5", edgecolor="#9a9a9a", label="95 % interval of the mean over prompts"))
    if view.references:
        marks.append(Line2D([], [], color="black", lw=0.9, ls=(0, (1, 1.5)), label="reference policy"))
    if len(view.objectives) > 1:
        marks.append(Patch(facecolor=_OBEYS, edgecolor="#9a9a9a", label="reward of what was asked for: should rise"))
    return marks
