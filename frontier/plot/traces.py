"""Turn a view of fronts into plotly figures: scatter of a pair of objectives, matrix of pairs, 3D scatter, parallel coordinates."""

import html
import math
import textwrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from frontier.front import FrontPoint
from frontier.plot.colours import SCALE
from frontier.plot.view import Layer, View

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
SYMBOLS_3D = ("circle", "square", "diamond")  # those that plotly can draw hollow in 3D
INK = "#303030"
GREY = "#9a9a9a"
HOVER_TEXT = 280  # characters of a sample in a hover box; the table has the whole of it


def pair_figure(view: View) -> go.Figure:
    """Two objectives against each other, with error bars and the front line."""
    figure = go.Figure()
    _add_pair(figure, view, 0, 1, {}, size=11)
    figure.update_xaxes(title=view.axis(0))
    figure.update_yaxes(title=view.axis(1))
    return _styled(_with_colour_bar(_with_legend(figure, view), view), 620)


def projections_figure(view: View) -> go.Figure:
    """Every pair of objectives: side by side for three, the lower triangle of a matrix for more."""
    count = len(view.objectives)
    if count == 3:
        figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.07)
        places = [(1, i + 1, x, y) for i, (x, y) in enumerate(view.pairs)]
    else:
        figure = make_subplots(
            rows=count - 1, cols=count - 1, horizontal_spacing=0.045, vertical_spacing=0.18 / (count - 1)
        )
        places = [(y, x + 1, x, y) for x, y in view.pairs]
    for row, column, x, y in places:
        _add_pair(figure, view, x, y, {"row": row, "col": column}, size=9 if count == 3 else 7)
        labelled = count == 3
        if labelled or row == count - 1:
            figure.update_xaxes(title=view.objectives[x], row=row, col=column)
        if labelled or column == 1:
            figure.update_yaxes(title=view.objectives[y], row=row, col=column)
    if count == 3:
        return _styled(_with_legend(figure, view), 460)
    # The parallel coordinates above the matrix carry its legend and its colours.
    return _styled(figure, 130 + 190 * (count - 1)).update_layout(margin={"t": 30})


def space_figure(view: View) -> go.Figure:
    """Three objectives in space, to turn with the mouse."""
    figure = go.Figure()
    for number, layer in enumerate(view.layers):
        symbol = SYMBOLS_3D[number % len(SYMBOLS_3D)]
        rewards = layer.front.rewards
        figure.add_trace(
            go.Scatter3d(
                x=rewards[:, 0],
                y=rewards[:, 1],
                z=rewards[:, 2],
                mode="markers",
                marker={
                    "size": 7,
                    "color": layer.colours,
                    "symbol": [symbol if keep else f"{symbol}-open" for keep in layer.kept],
                    "line": {"width": 1, "color": INK},
                },
                **_hover(layer, number, view),
                legendgroup=layer.label,
                showlegend=False,
            )
        )
        for letter, _, index in layer.lettered_picks():
            place = rewards[index]
            figure.add_trace(
                go.Scatter3d(
                    x=[place[0]],
                    y=[place[1]],
                    z=[place[2]],
                    mode="markers+text",
                    text=[f"<b>{letter}</b>"],
                    textposition="top center",
                    marker={"size": 13, "symbol": "circle-open", "color": "black", "line": {"width": 3}},
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
    for reference in view.references:
        figure.add_trace(
            go.Scatter3d(
                x=[reference.rewards[0]],
                y=[reference.rewards[1]],
                z=[reference.rewards[2]],
                mode="markers",
                marker={"size": 6, "symbol": "cross", "color": "black"},
                hovertext=[_about(reference, view, "reference policy", None)],
                hoverinfo="text",
                name="reference policy (cross)",
            )
        )
    figure.update_layout(
        scene={
            f"{axis}axis": {
                "title": {"text": name},
                "backgroundcolor": "#fafafa",
                "gridcolor": "#dddddd",
                "showbackground": True,
            }
            for axis, name in zip("xyz", view.objectives, strict=True)
        }
        | {"aspectmode": "cube", "camera": {"eye": {"x": 1.65, "y": 1.55, "z": 0.8}, "center": {"z": -0.05}}},
    )
    return _styled(_with_legend(figure, view, star=False), 620).update_layout(margin={"l": 0, "r": 0, "t": 40, "b": 0})


def parallel_figure(view: View) -> go.Figure:
    """One line a point over one axis an objective, each axis running from the smallest to the largest reward."""
    figure = go.Figure()
    low, high = view.extents()
    extent = np.where(high > low, high - low, 1.0)
    for number, layer in enumerate(view.layers):
        hover = _hover(layer, number, view)
        marked = set(layer.picks.values())
        for i, row in enumerate((layer.front.rewards - low) / extent):
            picked = i in marked
            figure.add_trace(
                go.Scatter(
                    x=view.objectives,
                    y=row,
                    mode="lines+markers",
                    line={
                        "color": "black" if picked else layer.colours[i],
                        "width": 4 if picked else 1.8,
                        "dash": "solid" if layer.kept[i] else "dot",
                    },
                    marker={"size": 7, "color": layer.colours[i], "symbol": SYMBOLS[number % len(SYMBOLS)]},
                    opacity=1.0 if picked else 0.8,
                    hovertext=[hover["hovertext"][i]] * len(row),
                    customdata=[hover["customdata"][i]] * len(row),
                    hoverinfo="text",
                    legendgroup=layer.label,
                    showlegend=False,
                )
            )
    for reference in view.references:
        figure.add_trace(
            go.Scatter(
                x=view.objectives,
                y=(np.array(reference.rewards) - low) / extent,
                mode="lines+markers",
                line={"color": "black", "dash": "dash", "width": 1.5},
                marker={"symbol": "star", "size": 13, "color": "black"},
                hovertext=[_about(reference, view, "reference policy", None)] * len(low),
                hoverinfo="text",
                showlegend=False,
            )
        )
    ends = [
        f"{html.escape(n, quote=False)}<br>{lo:.2f} to {hi:.2f}"
        for n, lo, hi in zip(view.objectives, low, high, strict=True)
    ]
    figure.update_xaxes(tickvals=view.objectives, ticktext=ends, gridcolor=GREY)
    figure.update_yaxes(tickvals=[0, 1], ticktext=["worst", "best"])
    return _styled(_with_colour_bar(_with_legend(figure, view), view), 460)


def _add_pair(figure: go.Figure, view: View, x: int, y: int, place: dict[str, int], size: int) -> None:
    for number, layer in enumerate(view.layers):
        rewards, errors = layer.front.rewards, np.nan_to_num(layer.front.standard_errors)
        symbol = SYMBOLS[number % len(SYMBOLS)]
        if len(view.objectives) == 2:
            line = rewards[layer.kept][np.argsort(rewards[layer.kept, 0])]
            dash = ("solid", "dash", "dot", "dashdot")[number % 4]
            figure.add_trace(
                go.Scatter(
                    x=line[:, 0],
                    y=line[:, 1],
                    mode="lines",
                    line={"color": GREY, "width": 1.2, "dash": dash},
                    hoverinfo="skip",
                    legendgroup=layer.label,
                    showlegend=False,
                ),
                **place,
            )
        bars = {"type": "data", "thickness": 1, "width": 0, "color": "rgba(90,90,90,0.45)"}
        figure.add_trace(
            go.Scatter(
                x=rewards[:, x],
                y=rewards[:, y],
                mode="markers",
                error_x=bars | {"array": errors[:, x]},
                error_y=bars | {"array": errors[:, y]},
                marker={
                    "size": size,
                    "color": layer.colours,
                    "symbol": [symbol if keep else f"{symbol}-open" for keep in layer.kept],
                    "line": {
                        "width": [0.8 if keep else 2 for keep in layer.kept],
                        "color": [INK if keep else c for keep, c in zip(layer.kept, layer.colours, strict=True)],
                    },
                },
                **_hover(layer, number, view),
                legendgroup=layer.label,
                showlegend=False,
            ),
            **place,
        )
        for letter, _, index in layer.lettered_picks():
            figure.add_trace(
                go.Scatter(
                    x=[rewards[index, x]],
                    y=[rewards[index, y]],
                    mode="markers+text",
                    text=[f"<b>{letter}</b>"] if len(view.objectives) <= 3 else None,
                    textposition="top right",
                    marker={"size": size * 1.9, "symbol": "circle-open", "color": "black", "line": {"width": 2}},
                    hoverinfo="skip",
                    showlegend=False,
                ),
                **place,
            )
    for reference in view.references:
        figure.add_trace(
            go.Scatter(
                x=[reference.rewards[x]],
                y=[reference.rewards[y]],
                mode="markers",
                marker={"symbol": "star", "size": size * 1.5, "color": "black", "line": {"color": "white", "width": 1}},
                hovertext=[_about(reference, view, "reference policy", None)],
                hoverinfo="text",
                showlegend=False,
            ),
            **place,
        )


def _hover(layer: Layer, number: int, view: View) -> dict[str, Any]:
    texts = [
        _about(point, view, f"{layer.label}, point {i}" + ("" if keep else " (dominated)"), sample)
        for i, (point, keep, sample) in enumerate(zip(layer.front.points, layer.kept, layer.samples, strict=True))
    ]
    # The page's script finds the row of the table by this id.
    return {"hovertext": texts, "hoverinfo": "text", "customdata": [f"p{number}-{i}" for i in range(len(texts))]}


def _about(point: FrontPoint, view: View, heading: str, sample: str | None) -> str:
    weights = point.weights(view.objectives)
    lines = [f"<b>{html.escape(heading, quote=False)}</b>"]
    if weights:
        asked = ", ".join(f"{n} {w:.2f}" for n, w in zip(view.objectives, weights, strict=True))
        lines.append(f"weights: {html.escape(asked, quote=False)}")
    for name, reward, error in zip(view.objectives, point.rewards, point.standard_error, strict=True):
        bar = "" if math.isnan(error) else f" ± {error:.3f}"
        lines.append(f"{html.escape(name, quote=False)}: {reward:.3f}{bar}")
    if point.kl is not None:
        lines.append(f"KL to the reference: {point.kl:.3f} nats")
    lines.append(f"{point.n_prompts} prompts")
    if sample:
        short = textwrap.shorten(sample, HOVER_TEXT, placeholder=" …")
        lines += ["", *(f"<i>{html.escape(part, quote=False)}</i>" for part in textwrap.wrap(short, 60))]
    return "<br>".join(lines)


def _with_legend(figure: go.Figure, view: View, star: bool = True) -> go.Figure:
    entries: list[tuple[str, dict[str, Any], str | None]] = [
        (
            layer.label,
            {"symbol": SYMBOLS[i % len(SYMBOLS)], "color": "#707070", "size": 10, "line": {"width": 1, "color": INK}},
            layer.label,
        )
        for i, layer in enumerate(view.layers)
    ]
    if any(not layer.kept.all() for layer in view.layers):
        entries.append(("dominated (hollow)", {"symbol": "circle-open", "color": "#707070", "size": 10}, None))
    if view.references and star:
        entries.append(("reference policy", {"symbol": "star", "color": "black", "size": 13}, None))
    for letter, label, _ in view.layers[0].lettered_picks():
        entries.append(
            (
                f"{letter}: {label} (picked)",
                {"symbol": "circle-open", "color": "black", "size": 13, "line": {"width": 2}},
                None,
            )
        )
    three = figure.data and figure.data[0].type == "scatter3d"
    for name, marker, group in entries:
        if three:
            symbol = marker["symbol"] if marker["symbol"] in (*SYMBOLS_3D, "circle-open") else "diamond"
            blank: Any = go.Scatter3d(
                x=[None], y=[None], z=[None], mode="markers", marker=marker | {"symbol": symbol}, name=name
            )
        else:
            blank = go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
        blank.update(legendgroup=group, showlegend=True)
        figure.add_trace(blank)
    return figure


def _with_colour_bar(figure: go.Figure, view: View) -> go.Figure:
    scale = [[i / (len(SCALE) - 1), colour] for i, colour in enumerate(SCALE)]
    title = {"text": f"weight asked<br>for {html.escape(view.colour_by, quote=False)}", "font": {"size": 12}}
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            showlegend=False,
            marker={
                "color": [0],
                "cmin": 0,
                "cmax": 1,
                "colorscale": scale,
                "showscale": True,
                "colorbar": {"title": title, "thickness": 14, "len": 0.55, "y": 0.4, "tickvals": [0, 0.5, 1]},
            },
        )
    )
    return figure


def _styled(figure: go.Figure, height: int) -> go.Figure:
    figure.update_xaxes(gridcolor="#ececec", zeroline=False, linecolor=GREY, ticks="outside", tickcolor=GREY)
    figure.update_yaxes(gridcolor="#ececec", zeroline=False, linecolor=GREY, ticks="outside", tickcolor=GREY)
    return figure.update_layout(
        height=height,
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 70, "r": 20, "t": 50, "b": 65},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"size": 12}},
        hovermode="closest",
    )
