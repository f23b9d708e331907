"""For which weights is one front better than another? A curve for two objectives, a triangle for three."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from frontier.plot.colours import SERIES
from frontier.plot.interactive.ternary import triangle
from frontier.plot.simplex import even_weights, triangle_places
from frontier.plot.traces import axis_label, cut, faint, safe, span, styled, unit
from frontier.plot.view import View

FINEST = 5_000  # weights at most, for any number of objectives
TIE = 1e-9  # utilities nearer than this differ by rounding only


def advantage(view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""How much more the first front's best point is worth than the second's: $\max_{p \in A} w^\top p - \max_{q \in B} w^\top q$.

    Returns:
        `[W, K]` weights, an even lattice over the simplex, and `[W]` differences.
    """
    weights = even_weights(len(view.objectives), {2: 201, 3: 325}.get(len(view.objectives), FINEST))
    first, second = ((weights @ layer.front.rewards.T).max(axis=1) for layer in view.layers)
    return weights, first - second


def advantage_figure(view: View) -> go.Figure | None:
    """The difference over the weights of two objectives, or its sign over the triangle of three; `None` for more."""
    weights, difference = advantage(view)
    if len(view.objectives) == 2:
        return _curve(view, weights[:, 0], difference)
    return _map(view, weights, difference) if len(view.objectives) == 3 else None


def _curve(view: View, along: NDArray[np.float64], difference: NDArray[np.float64]) -> go.Figure:
    order = np.argsort(along)
    x, y = along[order], difference[order]
    figure = go.Figure()
    for number, part in enumerate((np.maximum(y, 0), np.minimum(y, 0))):
        # The second one is hatched: the two differ in black and white too.
        hatch = {"fillpattern": {"shape": "/", "fgcolor": SERIES[1], "bgcolor": "white", "size": 6}} if number else {}
        figure.add_trace(
            go.Scatter(
                x=x.tolist(),
                y=part.tolist(),
                mode="lines",
                line={"width": 0},
                fill="tozeroy",
                fillcolor=faint(SERIES[number], 0.35),
                hoverinfo="skip",
                name="better",
                **hatch,
            )
        )
    first, second = (layer.label for layer in view.layers)
    names = [cut(view.objectives[0], 30), cut(view.objectives[1], 30)]
    figure.add_trace(
        go.Scatter(
            x=x.tolist(),
            y=y.tolist(),
            mode="lines",
            line={"color": "black", "width": 2},
            hovertext=[
                "<br>".join(
                    [
                        safe(f"{names[0]} {w:.2f}"),
                        safe(f"{names[1]} {1 - w:.2f}"),
                        f"<b>{safe(_verdict(d, cut(first, 30), cut(second, 30)))}</b>",
                        f"difference {d:+.3f}",
                    ]
                )
                for w, d in zip(x, y, strict=True)
            ],
            hoverinfo="text",
            name="difference",
        )
    )
    figure.add_hline(y=0, line={"color": "black", "width": 1})
    figure.update_xaxes(title=axis_label(f"weight of {view.objectives[0]}"), range=[-0.02, 1.02])
    figure.update_yaxes(
        title=axis_label("difference of the best utilities, above 0 the first is better") + f"<br>{unit(view)}",
        range=span(y, np.array([0.0])),
    )
    return styled(figure, 380).update_layout(meta={"kind": "advantage"})


def _map(view: View, weights: NDArray[np.float64], difference: NDArray[np.float64]) -> go.Figure:
    figure = triangle(view.objectives)
    places = triangle_places(weights)
    first, second = (cut(layer.label, 30) for layer in view.layers)
    marks = (
        (difference > TIE, "square", SERIES[0]),
        (difference < -TIE, "diamond-open", SERIES[1]),
        (np.abs(difference) <= TIE, "x-thin", "#606060"),
    )
    for shown, symbol, colour in marks:
        texts = [
            "<br>".join(
                [
                    *(safe(f"{cut(n, 30)} {v:.2f}") for n, v in zip(view.objectives, w, strict=True)),
                    f"<b>{safe(_verdict(d, first, second))}</b>",
                    f"difference {d:+.3f}",
                ]
            )
            for w, d in zip(weights[shown], difference[shown], strict=True)
        ]
        figure.add_trace(
            go.Scatter(
                x=places[shown, 0].tolist(),
                y=places[shown, 1].tolist(),
                mode="markers",
                marker={"symbol": symbol, "size": 8, "color": colour, "line": {"width": 1.5, "color": colour}},
                hovertext=texts,
                hoverinfo="text",
                name="better",
            )
        )
    return figure.update_layout(meta={"kind": "ternary-map"})


def _verdict(difference: float, first: str, second: str) -> str:
    if abs(difference) <= TIE:
        return "equal"
    return f"{first if difference > 0 else second} is better"
