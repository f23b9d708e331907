"""Write fronts as one interactive page: hover over a point to see what it was asked for, what it got and what it says. It works offline."""

import html
import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from frontier.atomic import write_text
from frontier.plot.interactive.document import document, place
from frontier.plot.interactive.legend import colour_key, legend
from frontier.plot.interactive.pair import pair_figure
from frontier.plot.interactive.parallel import parallel_figure
from frontier.plot.interactive.space import space_figure
from frontier.plot.interactive.steering import has_steering, steering_figure
from frontier.plot.interactive.tables import points_table, summary_table
from frontier.plot.interactive.ternary import ternary_figure
from frontier.plot.interactive.weights import weights_data, weights_panel
from frontier.plot.intervals import chances_non_dominated, figures_with_intervals
from frontier.plot.traces import SYMBOLS, unit
from frontier.plot.view import Fronts, Samples, View, view_of

# Beyond these numbers of objectives the panels of all pairs are too many to read; the parallel coordinates and each objective's own panel stay.
MAX_PAIRS = 6
MAX_CROSS = 4


def front_page(
    fronts: Fronts,
    path: str | os.PathLike[str],
    samples: Samples | None = None,
    *,
    title: str = "Pareto front",
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
) -> Path:
    """Write one HTML file with plots, figures of merit and a table of all points. Nothing in it is loaded from anywhere else.

    Two objectives are one scatter plot with 95 % regions and the line of equal utility; three a scatter plot in space, a triangle of weights and the three projections; more
    are parallel coordinates and all pairs. Sliders set weights: the best point for them is ringed and its row named. Steering curves follow where points have weights. A click
    on a point shows its text and leads to its row, a click on a column heading sorts by it. With the rewards per prompt the figures have 95 % intervals, the regions tilt
    as the rewards correlate over prompts and every point its probability of being non-dominated.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label over the same objectives.
        path (`str` or `PathLike`): where to write; folders are made.
        samples (*optional*): a text per point of the first front, or such a list by front label, shown on hover and in the table. Default: each point's `extra["sample"]`.
        title (`str`, *optional*): of the page.
        colour_by (`str`, *optional*): the objective whose weight gives the colour when there are not three. Default: the first.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.

    Returns:
        `Path`: the page, about 5 MB, most of it plotly.js. It is written beside and renamed: there is never half a file.

    Raises:
        InputError: see `frontier.plot.view.view_of`.
    """
    view = view_of(fronts, colour_by, picks, samples)
    plots: dict[str, go.Figure] = {}
    body = [caption(view), summary_table(view, figures_with_intervals(view)), front_plots(view, plots)]
    if has_steering(view):
        body.append(steering_plots(view, plots))
    body.append("<h2>Points</h2>\n" + points_section(view))
    data = {"front": weights_data(view), "labels": [layer.label for layer in view.layers]}
    write_text(Path(path), document(title, "\n".join(body), plots, data))
    return Path(path)


def caption(view: View) -> str:
    """What the plots of a view show, as a paragraph."""
    return f'<p class="note">Mean rewards in {html.escape(view.unit)}; higher is better. Solid: not dominated; hollow or dotted: dominated; {html.escape(view.colour_note)}.</p>'


def front_plots(view: View, plots: dict[str, go.Figure]) -> str:
    """The plots of the fronts with legend and sliders as HTML; the figures are added to `plots`."""
    count = len(view.objectives)
    regions = any(trace.name == "region" for trace in pair_figure(view).data)
    words = legend(view, SYMBOLS, iso=count == 2, regions=regions, line=count == 2)
    keys = words if count == 3 else words + colour_key(view)
    if count == 2:
        plots["front-pair"] = pair_figure(view)
        return f"{keys}{place('front-pair')}{weights_panel(view)}"
    pairs = list(itertools.combinations(range(count), 2)) if count <= MAX_PAIRS else []
    for x, y in pairs:
        plots[f"pair-{x}-{y}"] = pair_figure(view, x, y, height=350, size=9)
    panels = f'<div class="panels" id="front-projections">{"".join(place(f"pair-{x}-{y}") for x, y in pairs)}</div>'
    panels = f"<h2>Every pair of objectives</h2>{panels}" if pairs else ""
    if count == 3:
        plots |= {"front-space": space_figure(view), "colour-key": ternary_figure(view)}
        numbered = ", ".join(f"{k}: {name}" for k, name in enumerate(view.objectives, 1))
        triangle = place("colour-key", "Weights asked for (×: yours); lines: where another point becomes the best")
        return f'{keys}<div class="beside">{place("front-space", f"Rewards {numbered}; higher is better; {unit(view)}. Drag to turn")}{triangle}</div>{weights_panel(view)}{panels}'
    plots["front-parallel"] = parallel_figure(view)
    ranges = zip(view.objectives, *view.extents(), strict=True)
    names = "".join(f"<li>{html.escape(name)}: {low:.2f} to {high:.2f}</li>" for name, low, high in ranges)
    axes = f'<ol class="axes" aria-label="axes of the parallel coordinates" hidden>{names}</ol>'
    return f"{keys}{place('front-parallel')}{axes}{weights_panel(view)}{panels}"


def steering_plots(view: View, plots: dict[str, go.Figure]) -> str:
    """The steering curves as HTML: each reward against its own weight, and the others folded away; the figures are added to `plots`."""
    count = len(view.objectives)
    own, cross = "", ""
    for reward, weight in itertools.product(range(count), repeat=2):
        if reward == weight or count <= MAX_CROSS:
            name = f"steering-{reward}-{weight}"
            plots[name] = steering_figure(view, reward, weight)
            if reward == weight:
                own += place(name)
            else:
                cross += place(name)
    more = f'<details class="more"><summary>Rewards against the weights of other objectives</summary><div class="panels">{cross}</div></details>'
    return f"""<h2>Steering</h2>
<p class="note">Does asking for more give more? The line is the mean reward of the points that share a weight, the band its 95 % interval over prompts (where standard errors are
known); a line that rises all the way is an objective that can be steered.</p>
<div class="panels" id="front-steering">{own}</div>{more if cross else ""}"""


def points_section(view: View) -> str:
    """The table of points and the bar that a click on a point fills, as HTML."""
    return f"""<p class="note">Click a heading to sort, a point in a plot to read about it. Rewards: mean ± standard error.</p>
{points_table(view, chances_non_dominated(view))}
<aside id="chosen" aria-live="polite" hidden><p></p><button type="button" class="plain" data-act="row">Show its row</button>
<button type="button" class="plain" data-act="close">Close</button></aside>"""
