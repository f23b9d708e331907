"""Write two fronts against each other as one interactive page: both in one picture, every figure with its difference, and for whom which is better."""

import html
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.front import ParetoFront
from frontier.measure.distance import epsilon_additive
from frontier.measure.uncertainty import Estimate
from frontier.plot.colours import SERIES
from frontier.plot.interactive.advantage import TIE, advantage, advantage_figure
from frontier.plot.interactive.document import document, place
from frontier.plot.interactive.steering import has_steering
from frontier.plot.interactive.tables import interval
from frontier.plot.interactive.weights import weights_data
from frontier.plot.intervals import differences_with_intervals
from frontier.plot.page import caption, front_plots, points_section, steering_plots
from frontier.plot.simplex import EUM_WEIGHTS, even_weights
from frontier.plot.view import Samples, View, encodable, place_of, view_of


@dataclass(frozen=True)
class Row:
    """A figure of both fronts; `higher` says which direction is better."""

    name: str
    first: float
    second: float
    higher: bool = True
    difference: Estimate | None = None


def comparison_page(
    first: ParetoFront,
    second: ParetoFront,
    path: str | os.PathLike[str],
    samples: Samples | None = None,
    *,
    labels: tuple[str, str] = ("A", "B"),
    title: str = "Two fronts compared",
    colour_by: str | None = None,
) -> Path:
    """Write one HTML file with both fronts overlaid, a table of figures with their differences, and the weights for which either is better.

    Args:
        first (`ParetoFront`): called A below.
        second (`ParetoFront`): B, over the same objectives with the same normaliser.
        path (`str` or `PathLike`): where to write; folders are made.
        samples (*optional*): a text per point of the first front, or such a list by label. Default: each point's `extra["sample"]`.
        labels (`tuple[str, str]`, *optional*): what to call them.
        title (`str`, *optional*): of the page.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three.

    Returns:
        `Path`: the page. It is written beside and renamed: there is never half a file.

    Raises:
        InputError: the labels are equal, the objectives or normalisers differ, or see `frontier.plot.view.view_of`.
    """
    names = [encodable(label) for label in labels]
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(f"labels must be two that differ, found {labels!r}")
    view = view_of(dict(zip(names, (first, second), strict=True)), colour_by, None, samples)
    plots: dict[str, go.Figure] = {}
    body = [caption(view), _differences(view), front_plots(view, plots), _where_better(view, plots)]
    if has_steering(view):
        body.append(steering_plots(view, plots))
    body.append("<h2>Points</h2>\n" + points_section(view))
    write_text(Path(path), document(title, "\n".join(body), plots, {"front": weights_data(view), "labels": names}))
    return Path(path)


def comparison_rows(view: View) -> list[Row]:
    """The figures of the two fronts of a view: hypervolume above the common reference point, EUM over the same weights, MIP, gap, ε and best rewards."""
    first, second = (layer.front for layer in view.layers)
    weights = even_weights(len(view.objectives), EUM_WEIGHTS)
    known = differences_with_intervals(view, weights)
    place = view.reference_point

    def row(name: str, of: Callable[[ParetoFront], float], higher: bool = True) -> Row:
        return Row(name, of(first), of(second), higher, known.get(name))

    rows = [
        row("hypervolume", lambda front: front.hypervolume(place).value),
        row("EUM", lambda front: front.eum(weights)),
    ]
    if all(layer.steered().any() for layer in view.layers):
        rows += [row("MIP", ParetoFront.mip), row("gap", ParetoFront.controllability_gap, higher=False)]
    rows.append(
        Row(
            "ε to cover the other",
            epsilon_additive(first.rewards, second.rewards),
            epsilon_additive(second.rewards, first.rewards),
            False,
        )
    )
    for k, name in enumerate(view.objectives):
        rows.append(Row(f"best {name}", float(first.rewards[:, k].max()), float(second.rewards[:, k].max())))
    return rows


def beaten(points: NDArray[np.float64], by: NDArray[np.float64]) -> int:
    """How many of the points some point of the other front dominates: at least as large in every objective and larger in one."""
    least = (by[None] >= points[:, None]).all(axis=-1)
    more = (by[None] > points[:, None]).any(axis=-1)
    return int(np.logical_and(least, more).any(axis=1).sum())


def _differences(view: View) -> str:
    labels = [layer.label for layer in view.layers]
    rows = ""
    intervals = False
    for row in comparison_rows(view):
        difference = row.first - row.second
        gain = difference if row.higher else -difference
        better = "equal" if abs(gain) <= TIE else labels[0] if gain > 0 else labels[1]
        small = ""
        if row.difference is not None:
            intervals = True
            small = f"<small>{interval(row.difference)}</small>"
            better = "not decided" if 0.0 in row.difference else better
        direction = "higher" if row.higher else "lower"
        rows += (
            f'<tr><td class="name wider">{html.escape(row.name)}<small>{direction} is better</small></td><td>{row.first:.3f}</td><td>{row.second:.3f}</td>'
            f'<td>{difference:+.3f}{small}</td><td class="name">{html.escape(better)}</td></tr>'
        )
    first, second = (layer.front.rewards for layer in view.layers)
    counts = (beaten(first, second), beaten(second, first))
    rows += (
        '<tr><td class="name wider">points that the other dominates<small>lower is better</small></td>'
        f"<td>{counts[0]} of {len(first)}</td><td>{counts[1]} of {len(second)}</td><td></td><td></td></tr>"
    )
    head = "".join(
        f'<th class="name" scope="col">{html.escape(n)}</th>' for n in ("figure", *labels, "difference", "better")
    )
    small = " Small print of a difference: 95 % interval over the prompts that both answered." if intervals else ""
    return f"""<div class="wide" tabindex="0" role="region" aria-label="differences"><table id="differences"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
<p class="note">Hypervolume above the reference point ({html.escape(place_of(view))}). EUM: mean over an even lattice of weights of the best point for each. MIP: mean over a front’s own weights
of the point that was asked for; gap: what is lost because steering is not exact. ε: what must be added to every reward before no point of the other is missed.{small}</p>"""


def _where_better(view: View, plots: dict[str, go.Figure]) -> str:
    _, difference = advantage(view)
    shares = [float((difference > TIE).mean()), float((difference < -TIE).mean())]
    marks = (
        f'<svg width="22" height="18" aria-hidden="true"><rect x="4" y="2" width="14" height="14" fill="{SERIES[0]}"/></svg>',
        f'<svg width="22" height="18" aria-hidden="true"><path d="M11 2 L18 9 L11 16 L4 9 Z" fill="white" stroke="{SERIES[1]}" stroke-width="2"/></svg>',
    )
    if len(view.objectives) == 2:
        marks = (
            marks[0],
            f'<svg width="22" height="18" aria-hidden="true"><rect x="4" y="2" width="14" height="14" fill="white" stroke="{SERIES[1]}"/><path d="M4 16L18 2M4 9L11 2M11 16L18 9" stroke="{SERIES[1]}" stroke-width="1.5"/></svg>',
        )
    words = "".join(
        f"<li>{mark if len(view.objectives) < 4 else ''}<span>{html.escape(layer.label)} is better for {100 * share:.0f} % of the weights</span></li>"
        for mark, layer, share in zip(marks, view.layers, shares, strict=True)
    )
    tied = 1 - sum(shares)
    words += f"<li><span>equal for {100 * tied:.0f} %</span></li>" if tied > TIE else ""
    figure = advantage_figure(view)
    if figure is not None:
        plots["advantage"] = figure
    drawing = place("advantage") if figure is not None else ""
    return f"""<h2>For whom which is better</h2>
<p class="note">For every weighting of the objectives, the best point of {html.escape(view.layers[0].label)} against the best of {html.escape(view.layers[1].label)}, by the sum of weight × mean reward.</p>
<ul class="legend" id="shares-better">{words}</ul>{drawing}"""
