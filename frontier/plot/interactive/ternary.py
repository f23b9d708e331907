"""The weights of three objectives in a triangle: what each point was asked for, and which point is best where."""

import math

import numpy as np
import plotly.graph_objects as go

from frontier.plot.colours import triangle_cells
from frontier.plot.simplex import CORNERS, best_regions, triangle_places
from frontier.plot.traces import GREY, INK, cut, hover, markers, ring, safe, styled, wrapped
from frontier.plot.view import View


def ternary_figure(view: View) -> go.Figure:
    """The weights that the points were asked for, over the colours that stand for them in all other plots.

    A corner is weight 1 for the objective named there and the side across from it weight 0; a dotted line is every quarter. The solid lines divide the triangle by which point of
    the first front has the largest utility. Points whose weights are unknown or have a negative component lie outside and are left out.
    """
    figure = triangle(view.objectives, coloured=True)
    for _, corners in best_regions(view.layers[0].front.rewards):
        outline = " L ".join(f"{px:.4f},{py:.4f}" for px, py in corners @ CORNERS)
        figure.add_shape(type="path", path=f"M {outline} Z", line={"color": INK, "width": 1.2}, layer="below")
    for number, layer in enumerate(view.layers):
        weights = layer.front.weights
        shown = ~np.isnan(weights).any(axis=1) & (np.nan_to_num(weights) >= 0).all(axis=1)
        shown &= np.nan_to_num(weights).sum(axis=1) > 0
        places = np.full((len(weights), 2), np.nan)
        places[shown] = triangle_places(weights[shown])
        figure.add_trace(
            go.Scatter(
                x=[None if math.isnan(v) else v for v in places[:, 0]],
                y=[None if math.isnan(v) else v for v in places[:, 1]],
                mode="markers",
                marker=markers(layer, number, 10),
                **hover(layer, number, view),
                legendgroup=layer.label,
            )
        )
    figure.add_trace(ring(10))
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "x-thin", "size": 13, "color": "black", "line": {"width": 3, "color": "black"}},
            hoverinfo="skip",
            meta="weights",
        )
    )
    return figure.update_layout(meta={"kind": "ternary"})


def triangle(names: tuple[str, ...], coloured: bool = False) -> go.Figure:
    """A triangle of weights without points: its grid, the names at its corners and, if wanted, the colours that stand for weights."""
    figure = go.Figure()
    for points, colour in triangle_cells() if coloured else ():
        path = "M " + " L ".join(f"{px:.4f},{py:.4f}" for px, py in points) + " Z"
        # A line in the same colour closes the hairs between neighbours.
        line = {"width": 0.6, "color": colour}
        figure.add_shape(type="path", path=path, fillcolor=colour, line=line, opacity=0.55, layer="below")
    for share in (0.25, 0.5, 0.75):
        for k in range(3):
            ends = np.zeros((2, 3))
            ends[:, k] = share
            ends[0, (k + 1) % 3] = ends[1, (k + 2) % 3] = 1 - share
            (x0, y0), (x1, y1) = (ends @ CORNERS).tolist()
            line = {"color": GREY, "width": 0.8, "dash": "dot"}
            figure.add_shape(type="line", x0=x0, y0=y0, x1=x1, y1=y1, line=line, layer="below")
    outline = " L ".join(f"{x:.4f},{y:.4f}" for x, y in CORNERS)
    figure.add_shape(type="path", path=f"M {outline} Z", line={"color": INK, "width": 1}, layer="below")
    places = ((-0.12, -0.045, "left", "top"), (1.12, -0.045, "right", "top"), (0.5, 0.91, "center", "bottom"))
    for name, (x, y, horizontal, vertical) in zip(names, places, strict=True):
        lines = [safe(part) for part in wrapped(cut(name, 42), 16, 3)]
        figure.add_annotation(
            x=x,
            y=y,
            text="<br>".join(["weight 1 for", *(f"<b>{line}</b>" for line in lines)]),
            showarrow=False,
            xanchor=horizontal,
            yanchor=vertical,
            align=horizontal,
            font={"size": 12},
        )
    hidden = {"visible": False, "fixedrange": True}
    figure = styled(figure, 400)
    figure.update_xaxes(**hidden, range=[-0.16, 1.16], constrain="domain")
    figure.update_yaxes(**hidden, range=[-0.36, 1.24], scaleanchor="x", constrain="domain")
    return figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0})
