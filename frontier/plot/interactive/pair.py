"""Two objectives against each other: the points, the region that each one's mean lies in, and the line of equal utility for the weights that the reader chooses."""

import itertools

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from frontier.plot.ellipse import confidence_ellipse
from frontier.plot.traces import DASHES, GREY, INK, about, faint, hover, markers, reward_label, ring, span, styled
from frontier.plot.view import Layer, View

FEW = 12  # more regions than this are outlines only: their fills would add up to fog


def pair_figure(view: View, x: int = 0, y: int = 1, *, height: int = 560, size: float = 11) -> go.Figure:
    """A scatter plot of two of the objectives, with 95 % regions of the means.

    With two objectives in all it also has the front's line and a line of equal utility, `layout.shapes[0]`: the page's script turns it with the weights.

    Args:
        view (`View`): what to draw.
        x (`int`): the horizontal objective, as a column.
        y (`int`): the vertical one.
        height (`int`, *optional*): in pixels.
        size (`float`, *optional*): of a marker, in pixels.
    """
    figure = go.Figure()
    outlines = [_regions(layer, x, y) for layer in view.layers]
    whole = len(view.objectives) == 2
    for number, (layer, regions) in enumerate(zip(view.layers, outlines, strict=True)):
        for i, region in enumerate(regions):
            if region is not None:
                figure.add_trace(
                    _region(region, layer.colours[i], layer.label, DASHES[number % len(DASHES)], len(regions) <= FEW)
                )
        if whole:
            figure.add_trace(_line(layer, number))
    for number, layer in enumerate(view.layers):
        rewards = layer.front.rewards
        figure.add_trace(
            go.Scatter(
                x=rewards[:, x].tolist(),
                y=rewards[:, y].tolist(),
                mode="markers",
                marker=markers(layer, number, size),
                **hover(layer, number, view),
                legendgroup=layer.label,
            )
        )
        for letter, _, index in layer.lettered_picks():
            figure.add_trace(_pick(letter, float(rewards[index, x]), float(rewards[index, y]), size))
    for reference in view.references:
        figure.add_trace(
            go.Scatter(
                x=[reference.rewards[x]],
                y=[reference.rewards[y]],
                mode="markers",
                marker={"symbol": "star", "size": size * 1.5, "color": "black", "line": {"color": "white", "width": 1}},
                hovertext=[about(reference, view, "reference policy", None)],
                hoverinfo="text",
            )
        )
    figure.add_trace(ring(size))
    drawn = [r for r in itertools.chain(*outlines) if r is not None]
    low, high = view.extents()
    figure.update_xaxes(title=reward_label(view, x), range=span(low[[x]], high[[x]], *(r[:, 0] for r in drawn)))
    figure.update_yaxes(title=reward_label(view, y), range=span(low[[y]], high[[y]], *(r[:, 1] for r in drawn)))
    if whole:
        figure.add_shape(
            type="line", x0=0, y0=0, x1=0, y1=0, line={"color": "black", "width": 2, "dash": "dash"}, layer="below"
        )
    # The script reads from `meta` which objectives the axes are.
    return styled(figure, height).update_layout(meta={"kind": "pair", "x": x, "y": y})


def _regions(layer: Layer, x: int, y: int) -> list[NDArray[np.float64] | None]:
    """A 95 % region for each point's means, `None` where its standard errors are not known."""
    rows = zip(layer.front.rewards[:, [x, y]], layer.covariances(x, y), layer.known(x, y).tolist(), strict=True)
    return [confidence_ellipse(mean, covariance, n) for mean, covariance, n in rows]


def _region(outline: NDArray[np.float64], colour: str, label: str, dash: str, filled: bool) -> go.Scatter:
    return go.Scatter(
        x=outline[:, 0].tolist(),
        y=outline[:, 1].tolist(),
        mode="lines",
        line={"color": colour, "width": 1, "dash": dash},
        fill="toself" if filled else "none",
        fillcolor=faint(colour, 0.1),
        hoverinfo="skip",
        legendgroup=label,
        name="region",
    )


def _line(layer: Layer, number: int) -> go.Scatter:
    kept = layer.front.rewards[layer.kept]
    line = kept[np.argsort(kept[:, 0])]
    return go.Scatter(
        x=line[:, 0].tolist(),
        y=line[:, 1].tolist(),
        mode="lines",
        line={"color": GREY, "width": 1.4, "dash": DASHES[number % len(DASHES)]},
        hoverinfo="skip",
        legendgroup=layer.label,
    )


def _pick(letter: str, x: float, y: float, size: float) -> go.Scatter:
    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers+text",
        text=[f"<b>{letter}</b>"],
        textposition="top right",
        textfont={"size": 13, "color": INK},
        marker={"size": size * 1.7, "symbol": "square-open", "color": "black", "line": {"width": 1.6}},
        hoverinfo="skip",
    )
