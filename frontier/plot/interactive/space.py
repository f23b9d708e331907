"""Three objectives in space, to turn with the mouse or a finger."""

import plotly.graph_objects as go

from frontier.plot.traces import INK, SYMBOLS_3D, about, hover, safe, styled
from frontier.plot.view import View

NAME = 14  # characters of a name that fit beside an axis; the page's script numbers the axes where one is longer, or the plot small


def space_figure(view: View) -> go.Figure:
    """Three objectives as a scatter plot in space. It needs WebGL; the projections show the same without."""
    figure = go.Figure()
    for number, layer in enumerate(view.layers):
        symbol = SYMBOLS_3D[number % len(SYMBOLS_3D)]
        x, y, z = layer.front.rewards.T.tolist()
        figure.add_trace(
            go.Scatter3d(
                x=x,
                y=y,
                z=z,
                mode="markers",
                marker={
                    "size": 6,
                    "color": layer.colours,
                    "symbol": [symbol if keep else f"{symbol}-open" for keep in layer.kept],
                    "line": {"width": 1, "color": INK},
                },
                **hover(layer, number, view),
                legendgroup=layer.label,
            )
        )
        for letter, _, index in layer.lettered_picks():
            figure.add_trace(
                go.Scatter3d(
                    x=[x[index]],
                    y=[y[index]],
                    z=[z[index]],
                    mode="markers+text",
                    text=[f"<b>{letter}</b>"],
                    textposition="top center",
                    marker={"size": 11, "symbol": "square-open", "color": "black", "line": {"width": 3}},
                    hoverinfo="skip",
                )
            )
    for reference in view.references:
        figure.add_trace(
            go.Scatter3d(
                **{axis: [value] for axis, value in zip("xyz", reference.rewards, strict=True)},
                mode="markers",
                marker={"size": 6, "symbol": "cross", "color": "black"},
                hovertext=[about(reference, view, "reference policy", None)],
                hoverinfo="text",
            )
        )
    figure.add_trace(
        go.Scatter3d(
            x=[None],
            y=[None],
            z=[None],
            mode="markers",
            marker={"size": 22, "symbol": "circle-open", "color": "black", "line": {"width": 4}},
            hoverinfo="skip",
            meta="best",
        )
    )
    figure.update_layout(
        scene={
            f"{axis}axis": {
                "title": {"text": safe(name), "font": {"size": 13}},
                "backgroundcolor": "#fafafa",
                "gridcolor": "#dddddd",
                "showbackground": True,
                "nticks": 5,
                "tickfont": {"size": 11},
            }
            for axis, name in zip("xyz", view.objectives, strict=True)
        }
        | {
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.75, "y": 1.65, "z": 0.85}, "center": {"z": -0.1}},
            "dragmode": "turntable",
        },
    )
    return styled(figure, 540).update_layout(
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        meta={"kind": "space", "long": any(len(name) > NAME for name in view.objectives)},
    )
