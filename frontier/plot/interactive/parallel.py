"""Any number of objectives side by side: one line a point over one axis an objective."""

import numpy as np
import plotly.graph_objects as go

from frontier.plot.traces import DASHES, GREY, SYMBOLS, about, cut, hover, safe, styled, unit, wrapped
from frontier.plot.view import View


def parallel_figure(view: View) -> go.Figure:
    """Parallel coordinates; each axis runs from the smallest reward at the bottom to the largest at the top."""
    figure = go.Figure()
    low, high = view.extents()
    extent = np.where(high > low, high - low, 1.0)
    columns = list(range(len(view.objectives)))
    for number, layer in enumerate(view.layers):
        texts = hover(layer, number, view)
        marked = set(layer.picks.values())
        for i, row in enumerate((layer.front.rewards - low) / extent):
            picked = i in marked
            figure.add_trace(
                go.Scatter(
                    x=columns,
                    y=row.tolist(),
                    mode="lines+markers",
                    line={
                        "color": "black" if picked else layer.colours[i],
                        "width": 3.5 if picked else 1.8,
                        "dash": DASHES[number % len(DASHES)] if layer.kept[i] else "dot",
                    },
                    marker={"size": 7, "color": layer.colours[i], "symbol": SYMBOLS[number % len(SYMBOLS)]},
                    opacity=1.0 if picked else 0.8,
                    hovertext=[texts["hovertext"][i]] * len(row),
                    customdata=[texts["customdata"][i]] * len(row),
                    hoverinfo="text",
                    legendgroup=layer.label,
                )
            )
    for reference in view.references:
        figure.add_trace(
            go.Scatter(
                x=columns,
                y=((np.array(reference.rewards) - low) / extent).tolist(),
                mode="lines+markers",
                line={"color": "black", "dash": "longdashdot", "width": 1.5},
                marker={"symbol": "star", "size": 13, "color": "black"},
                hovertext=[about(reference, view, "reference policy", None)] * len(low),
                hoverinfo="text",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=columns,
            y=[None] * len(columns),
            mode="lines+markers",
            line={"color": "black", "width": 3},
            marker={"symbol": "circle-open", "size": 17, "color": "black", "line": {"width": 3}},
            hoverinfo="skip",
            meta="best",
        )
    )
    # The page's script numbers the axes instead where the names would run into each other.
    ends = [
        "<br>".join([*(safe(part) for part in wrapped(cut(n, 34), 17)), f"{lo:.2f} to {hi:.2f}"])
        for n, lo, hi in zip(view.objectives, low, high, strict=True)
    ]
    figure.update_xaxes(
        tickvals=columns, ticktext=ends, range=[-0.25, len(columns) - 0.75], fixedrange=True, tickangle=0
    )
    figure.update_yaxes(
        title=f"reward<br>higher is better; {unit(view)}",
        tickvals=[0, 1],
        ticktext=["worst", "best"],
        range=[-0.07, 1.07],
        fixedrange=True,
    )
    figure = styled(figure, 460).update_xaxes(gridcolor=GREY)
    return figure.update_layout(
        margin={"r": 24}, meta={"kind": "parallel", "low": low.tolist(), "extent": extent.tolist(), "names": ends}
    )
