"""Does asking for more of an objective give more of it? Rewards against weights, with bands."""

import numpy as np
import plotly.graph_objects as go

from frontier.plot.colours import SERIES
from frontier.plot.curves import SteeringCurve, steering_curve
from frontier.plot.traces import DASHES, axis_label, cut, faint, hover, markers, reward_label, span, styled
from frontier.plot.view import View


def steering_figure(view: View, reward: int, weight: int, height: int = 340) -> go.Figure:
    """The reward of one objective against the weight of one: every point, and the mean of those that share a weight with its 95 % band (see `steering_curve`).

    Args:
        view (`View`): what to draw. Points without weights are left out, and fronts without such points.
        reward (`int`): the objective whose reward is drawn, as a column.
        weight (`int`): the objective whose weight is the horizontal axis.
        height (`int`, *optional*): in pixels.
    """
    figure = go.Figure()
    shown = [np.array([0.0])[:0]]
    for number, layer in enumerate(view.layers):
        steered = layer.steered()
        if not steered.any():
            continue
        curve = steering_curve(layer.front, reward, weight)
        known = ~np.isnan(curve.low)
        shown += [curve.low, curve.high, layer.front.rewards[steered, reward]]
        tone = SERIES[number % len(SERIES)]
        if known.any():
            figure.add_trace(_band(curve, tone, layer.label))
        figure.add_trace(
            go.Scatter(
                x=curve.weights.tolist(),
                y=curve.means.tolist(),
                mode="lines",
                line={"color": tone, "width": 2, "dash": DASHES[number % len(DASHES)]},
                hoverinfo="skip",
                legendgroup=layer.label,
                name="mean",
            )
        )
        asked = layer.front.weights[:, weight]
        figure.add_trace(
            go.Scatter(
                x=[float(w) if ok else None for w, ok in zip(asked, steered, strict=True)],
                y=layer.front.rewards[:, reward].tolist(),
                mode="markers",
                marker=markers(layer, number, 8),
                **hover(layer, number, view),
                legendgroup=layer.label,
            )
        )
    weights = [layer.front.weights[:, weight] for layer in view.layers]
    figure.update_xaxes(
        title=axis_label(f"weight asked for {cut(view.objectives[weight], 46)}"),
        range=span(np.array([0.0, 1.0]), *weights, margin=0.04),
    )
    figure.update_yaxes(title=reward_label(view, reward), range=span(*shown))
    return styled(figure, height).update_layout(meta={"kind": "steering"})


def _band(curve: SteeringCurve, tone: str, label: str) -> go.Scatter:
    known = ~np.isnan(curve.low)
    along = curve.weights[known]
    return go.Scatter(
        x=np.concatenate([along, along[::-1]]).tolist(),
        y=np.concatenate([curve.low[known], curve.high[known][::-1]]).tolist(),
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=faint(tone, 0.18),
        hoverinfo="skip",
        legendgroup=label,
        name="band",
    )


def has_steering(view: View) -> bool:
    """Whether some front has at least two points with different weights."""
    for layer in view.layers:
        known = layer.front.weights[layer.steered()]
        if len(known) > 1 and (known != known[0]).any():
            return True
    return False
