"""What the interactive pictures share: symbols, the text beside a point, labels that fit a phone, and the bare look of a plot."""

import html
import math
import textwrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from frontier.front import FrontPoint
from frontier.plot.view import Layer, View

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
SYMBOLS_3D = ("circle", "square", "diamond")  # those that plotly can draw hollow in 3D
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
INK = "#303030"
GREY = "#9a9a9a"
HOVER_TEXT = 280  # characters of a sample in a hover box; the table has the whole of it
HOVER_WIDTH = 40  # characters: a wider box does not fit beside a point on a phone
AXIS_WIDTH = 34  # characters of a line of an axis label: what fits 300 pixels
AXIS_LINES = 3


def safe(text: str) -> str:
    """The text as plotly's own small HTML dialect shows it: nothing in it is markup."""
    return html.escape(text, quote=False)


def cut(text: str, length: int) -> str:
    """The text in one line, at most so many characters; an ellipsis stands for what is left out."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def wrapped(text: str, width: int, lines: int | None = None) -> list[str]:
    """The lines of a text, no wider than so many characters, also when one word is longer; with an ellipsis where they are more than `lines`."""
    found = textwrap.wrap(text, width) or [""]
    if lines is not None and len(found) > lines:
        found = [*found[: lines - 1], cut(" ".join(found[lines - 1 :]), width)]
    return found


def axis_label(text: str, width: int = AXIS_WIDTH) -> str:
    """A label for an axis, in lines that fit a narrow screen."""
    return "<br>".join(safe(line) for line in wrapped(text, width, AXIS_LINES))


def reward_label(view: View, k: int) -> str:
    """The label of an axis of rewards: the name cut where it must be, never the direction or the units, which tell how to read it."""
    name = "<br>".join(safe(line) for line in wrapped(f"reward of {view.objectives[k]}", AXIS_WIDTH, 2))
    return f"{name}<br>higher is better; {unit(view)}"


def unit(view: View) -> str:
    """What a reward is counted in, for an axis."""
    return "reference sd units" if view.normalised else "raw units"


def point_id(number: int, index: int) -> str:
    """The id of the row of a point's table, by which the page's script finds it."""
    return f"p{number}-{index}"


def about(point: FrontPoint, view: View, heading: str, sample: str | None) -> str:
    """The text beside a point: what it was asked for, rewards ± standard errors, KL, prompts and a sample, wrapped and escaped."""
    weights = point.weights(view.objectives)
    lines = [f"<b>{safe(part)}</b>" for part in wrapped(heading, HOVER_WIDTH, 3)]
    if weights:
        asked = ", ".join(f"{cut(n, 40)} {w:.2f}" for n, w in zip(view.objectives, weights, strict=True))
        lines += [safe(part) for part in wrapped(f"weights: {asked}", HOVER_WIDTH)]
    for name, reward, error in zip(view.objectives, point.rewards, point.standard_error, strict=True):
        bar = "" if math.isnan(error) else f" ± {error:.3f}"
        lines += [safe(part) for part in wrapped(f"{cut(name, 40)}: {reward:.3f}{bar}", HOVER_WIDTH)]
    if point.kl is not None:
        lines.append(f"KL to the reference: {point.kl:.3f} nats")
    lines.append(f"{point.n_prompts} prompts")
    if sample:
        lines += ["", *(f"<i>{safe(part)}</i>" for part in wrapped(cut(sample, HOVER_TEXT), HOVER_WIDTH))]
    return "<br>".join(lines)


def hover(layer: Layer, number: int, view: View) -> dict[str, Any]:
    """The fields of a trace that hold the text of every point and the id of its row."""
    texts = [
        about(point, view, f"{layer.label}, point {i}" + ("" if keep else " (dominated)"), sample)
        for i, (point, keep, sample) in enumerate(zip(layer.front.points, layer.kept, layer.samples, strict=True))
    ]
    return {"hovertext": texts, "hoverinfo": "text", "customdata": [point_id(number, i) for i in range(len(texts))]}


def markers(layer: Layer, number: int, size: float) -> dict[str, Any]:
    """One symbol a front, solid where no point dominates, in the colour of the weights."""
    symbol = SYMBOLS[number % len(SYMBOLS)]
    return {
        "size": size,
        "color": layer.colours,
        "symbol": [symbol if keep else f"{symbol}-open" for keep in layer.kept],
        "line": {
            "width": [0.8 if keep else 2 for keep in layer.kept],
            "color": [INK if keep else c for keep, c in zip(layer.kept, layer.colours, strict=True)],
        },
    }


def ring(size: float, **fields: Any) -> go.Scatter:
    """The mark of the best point for the weights that the reader chose. The page's script moves it; `meta` is how it finds it."""
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "circle-open", "size": size * 2.3, "color": "black", "line": {"width": 3}},
        hoverinfo="skip",
        meta="best",
        showlegend=False,
        **fields,
    )


def faint(colour: str, share: float) -> str:
    """A hex colour, so far transparent that what lies under it shows."""
    return f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},{share:g})"


def span(*arrays: NDArray[np.float64], margin: float = 0.07) -> list[float]:
    """The range of an axis that shows all the numbers with some air. It is set, not left to plotly, so that a moving line does not move the axis."""
    values = np.concatenate([np.ravel(a) for a in arrays])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    air = margin * (high - low) or max(abs(high), 1.0) * 0.1
    return [low - air, high + air]


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The figure in the page's look. The legend is not in it: words beside it wrap on a phone, words in it would overlap."""
    common = {
        "gridcolor": "#ececec",
        "zeroline": False,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
        "automargin": True,
        "tickfont": {"size": 12},
        "title": {"font": {"size": 13}, "standoff": 8},
        "nticks": 6,
    }
    figure.update_xaxes(**common)
    figure.update_yaxes(**common)
    return figure.update_layout(
        height=height,
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 58, "r": 14, "t": 14, "b": 58},
        showlegend=False,
        hoverlabel={"align": "left", "bgcolor": "white", "bordercolor": GREY, "font": {"size": 12, "color": INK}},
        hovermode="closest",
        dragmode="zoom",
    )
