"""Draw fronts as a picture for a report, a model card or a terminal that can't show pages."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from frontier.errors import InputError
from frontier.plot.iso import IsoUtility, iso_utility
from frontier.plot.static.canvas import write_picture
from frontier.plot.static.keys import weights_key
from frontier.plot.static.labels import settle
from frontier.plot.static.marks import ISO, front_marks
from frontier.plot.static.pair import draw_iso, draw_pair, places_of
from frontier.plot.static.parallel import draw_parallel
from frontier.plot.static.sheet import COLUMN, SMALL, new_sheet
from frontier.plot.static.wording import numbered, wrap
from frontier.plot.view import Fronts, View, summary_lines, view_of

# Beyond this many objectives the panels of a pair matrix are too small to read; the parallel coordinates stay.
MAX_MATRIX = 6


def plot_front(
    fronts: Fronts,
    path: str | os.PathLike[str],
    *,
    title: str = "Pareto front",
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
    iso: Mapping[str, float] | None = None,
    dpi: int = 150,
) -> Path:
    """Draw one front or several as PNG, SVG or PDF.

    Two objectives give one scatter plot, three their three projections, more parallel coordinates over a matrix of pairs. Colour tells the weights that a point was asked for
    (three objectives: a mixture of three hues, explained by a triangle), a hollow marker a dominated point, a star the reference policy, a ring a pick. The ellipse around a point
    contains its true mean rewards with 95 % confidence (`frontier.plot.ellipse`); it leans where the front kept its rewards per prompt.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label (steerable, soups, ...) over the same objectives.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        title (`str`, *optional*): over the picture; hypervolume, reference point, EUM, MIP and gap follow by themselves.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.
        iso (`Mapping[str, float]`, *optional*): weights that someone chose, for two objectives: draws the line of equal utility through the best point of all fronts. Everything
            above the line would be better still.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture. It is written beside and renamed: there is never half a file.

    Raises:
        InputError: see `frontier.plot.view.view_of`; another suffix; `iso` for other than two objectives, with an unknown name or a weight that is none.

    Example:
        >>> plot_front(front, "front.svg", iso={"helpful": 0.7, "brief": 0.3})  # doctest: +SKIP
    """
    return write_picture(lambda: draw_front(view_of(fronts, colour_by, picks), title, iso), path, dpi)


def draw_front(view: View, title: str, iso: Mapping[str, float] | None = None) -> Figure:
    """The figure of `plot_front`."""
    count = len(view.objectives)
    if iso is not None and count != 2:
        raise InputError(f"a line of equal utility (iso) needs two objectives, found {count}; mark a point with picks")
    return _two(view, title, iso) if count == 2 else _matrix(view, title)


def region_notes(view: View) -> list[str]:
    """Lines for the foot of a picture with ellipses: the unit, and what the ellipses rest on."""
    notes = [f"Mean rewards in {view.unit}; higher is better."]
    errors = np.concatenate([layer.front.standard_errors for layer in view.layers])
    if np.isnan(errors).all():
        return [f"{notes[0]} Standard errors are not known, so no confidence regions are drawn."]
    known = [getattr(layer.front, "prompt_rewards", None) is not None for layer in view.layers]
    basis = "from the covariance over prompts" if all(known) else "from the standard errors"
    lean = "" if all(known) else ", upright where rewards per prompt were not kept"
    some = " None where a standard error is not known." if np.isnan(errors).any() else ""
    return [*notes, f"Ellipses: 95 % confidence region of both means together, {basis}{lean}.{some}"]


def _two(view: View, title: str, iso: Mapping[str, float] | None) -> Figure:
    marks = front_marks(view, lines=True, ellipses=_has_regions(view))
    chosen = None
    rewards = np.concatenate([layer.front.rewards for layer in view.layers])
    if iso is not None:
        chosen = iso_utility(rewards, view.objectives, iso)
        marks.append(Line2D([], [], **ISO, label=_iso_label(view, chosen)))
    figure = new_sheet(
        10.0, 5.4, title=title, lines=summary_lines(view), notes=region_notes(view), marks=marks, key=weights_key(view)
    )
    axes = figure.add_subplot()
    labels = draw_pair(axes, view, 0, 1, 46, line=True)
    if chosen is not None:
        draw_iso(axes, rewards[chosen.index], chosen)
    numbered(axes.xaxis, 6.4)
    numbered(axes.yaxis, 4.8)
    axes.set_xlabel("\n".join(wrap(line, 6.0, 10, lines=3) for line in view.axis_lines(0)))
    axes.set_ylabel("\n".join(wrap(line, 4.3, 10, lines=3) for line in view.axis_lines(1)))
    settle(figure, labels, [(axes, places_of(view, 0, 1))])
    return figure


def _iso_label(view: View, iso: IsoUtility) -> str:
    return f"as good as the best point at weights {iso.text(view.objectives)}; above it is better"


def _has_regions(view: View) -> bool:
    return any(np.isfinite(layer.front.standard_errors).all(axis=1).any() for layer in view.layers)


def _matrix(view: View, title: str) -> Figure:
    """Every pair of objectives below the diagonal, above them parallel coordinates when there are more than three."""
    count = len(view.objectives)
    rows = count - 1 if count <= MAX_MATRIX else 0
    width = 11.0 if count == 3 else 12.0
    side = (width - COLUMN - 0.7) / max(rows, 1)
    tall = 3.0 if count == 3 else max(1.55, min(2.2, side))
    parallel = 3.7 if count > 3 else 0.0
    notes = region_notes(view) if rows else [f"Mean rewards in {view.unit}; higher is better."]
    figure = new_sheet(
        width,
        parallel + rows * tall + 0.6,
        title=title,
        lines=summary_lines(view),
        notes=notes,
        marks=front_marks(view, lines=count > 3, ellipses=bool(rows) and _has_regions(view)),
        key=weights_key(view),
    )
    heights = [*([parallel] if parallel else []), *([tall] * rows)]
    grid = figure.add_gridspec(len(heights), max(rows, 1), height_ratios=heights)
    labels, marks = [], []
    if parallel:
        labels += draw_parallel(figure.add_subplot(grid[0, :]), view, width - COLUMN - 0.6)
    for x, y in view.pairs if rows else ():
        axes = figure.add_subplot(grid[y - 1 + bool(parallel), x])
        labels += draw_pair(axes, view, x, y, 40 if count == 3 else 22, line=False)
        marks.append((axes, places_of(view, x, y)))
        numbered(axes.xaxis, side)
        numbered(axes.yaxis, tall, 0.4)
        axes.tick_params(labelsize=SMALL if count == 3 else 8, labelbottom=y == rows, labelleft=x == 0)
        # One unit and direction for all stands at the foot; the panels have room for names only.
        if y == rows:
            axes.set_xlabel(wrap(f"{view.objectives[x]} →", side - 0.25, 9.5, lines=3), fontsize=9.5)
        if x == 0:
            axes.set_ylabel(wrap(f"{view.objectives[y]} →", tall - 0.25, 9.5, lines=3), fontsize=9.5)
    settle(figure, labels, marks)
    return figure
