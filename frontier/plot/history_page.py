"""Write how a figure of a front grew during training as one interactive page."""

import html
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.plot.colours import SERIES
from frontier.plot.interactive.document import document, place
from frontier.plot.interactive.legend import series
from frontier.plot.traces import DASHES, HOVER_WIDTH, SYMBOLS, axis_label, cut, faint, safe, span, styled, wrapped
from frontier.plot.view import encodable

History = Sequence[Sequence[float] | NDArray[Any]]


def history_page(
    histories: Mapping[str, History],
    path: str | os.PathLike[str],
    *,
    title: str = "Hypervolume over training",
    quantity: str = "hypervolume",
    unit: str = "product of the rewards’ units",
    better: str = "higher is better",
    step: str = "training step",
    note: str = "",
) -> Path:
    """Write one HTML file with a curve a run and a table of where each ended. Nothing in it is loaded from anywhere else.

    Args:
        histories (`Mapping`): by label `(steps, values)` or `(steps, values, low, high)`, each of one length; NaN = not measured at that step, which leaves a gap. Low and high
            are drawn as a band.
        path (`str` or `PathLike`): where to write; folders are made.
        title (`str`, *optional*): of the page.
        quantity (`str`, *optional*): what the values are.
        unit (`str`, *optional*): their unit.
        better (`str`, *optional*): the direction, as it stands on the axis.
        step (`str`, *optional*): what the steps are.
        note (`str`, *optional*): a sentence under the title, such as the reference point, normaliser and number of prompts: without them hypervolumes don't compare.

    Returns:
        `Path`: the page. It is written beside and renamed: there is never half a file.

    Raises:
        InputError: no history, lengths that differ, steps that don't rise, a value that is infinite, or a low above its high; the message names the label.
    """
    curves = {encodable(label): checked(str(label), history) for label, history in histories.items()}
    if not curves:
        raise InputError("there is no history to draw")
    figure = history_figure(curves, f"{quantity} ({better}; {unit})", step)
    labels = tuple(curves)
    intro = f'<p class="note">{html.escape(note)}</p>' if note else ""
    body = f"{intro}{series(labels, SERIES)}{place('history')}<h2>Where each ended</h2>{_table(curves, quantity, step)}"
    write_text(Path(path), document(title, body, {"history": figure}, {"labels": list(labels)}))
    return Path(path)


def history_figure(curves: Mapping[str, NDArray[np.float64]], value_label: str, step: str) -> go.Figure:
    """The curves of `[n, 4]` steps, values, low and high by label; a band where low and high are known."""
    figure = go.Figure()
    for number, (label, curve) in enumerate(curves.items()):
        steps, values, low, high = curve.T
        tone = SERIES[number % len(SERIES)]
        for part in _stretches(~np.isnan(low)):
            figure.add_trace(
                go.Scatter(
                    x=[*steps[part], *steps[part][::-1]],
                    y=[*low[part], *high[part][::-1]],
                    mode="lines",
                    line={"width": 0},
                    fill="toself",
                    fillcolor=faint(tone, 0.16),
                    hoverinfo="skip",
                    legendgroup=label,
                    name="band",
                )
            )
        texts = [
            "<br>".join([*(f"<b>{safe(part)}</b>" for part in wrapped(label, HOVER_WIDTH, 3)), *_row_text(row, step)])
            for row in curve
        ]
        figure.add_trace(
            go.Scatter(
                x=steps.tolist(),
                y=[None if math.isnan(v) else v for v in values.tolist()],
                mode="lines+markers",
                line={"color": tone, "width": 2.2, "dash": DASHES[number % len(DASHES)]},
                marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8, "color": tone},
                hovertext=texts,
                hoverinfo="text",
                legendgroup=label,
                name="curve",
            )
        )
    everything = np.concatenate(list(curves.values()))
    figure.update_xaxes(title=axis_label(step), range=span(everything[:, 0], margin=0.03))
    figure.update_yaxes(title=axis_label(value_label), range=span(everything[:, 1:]))
    return styled(figure, 500).update_layout(meta={"kind": "history"})


def checked(label: str, history: History) -> NDArray[np.float64]:
    """`[n, 4]` steps, values, low and high; NaN where a history has no interval.

    Raises:
        InputError: see `history_page`.
    """
    parts = list(history)
    if len(parts) not in (2, 4):
        raise InputError(
            f"history {label!r} must be (steps, values) or (steps, values, low, high), found {len(parts)} parts"
        )
    try:
        columns = [np.array(part, dtype=np.float64) for part in parts]
    except (TypeError, ValueError) as error:
        raise InputError(f"history {label!r} must hold numbers: {error}") from error
    lengths = [column.shape for column in columns]
    if any(len(shape) != 1 for shape in lengths) or len(set(lengths)) > 1 or not lengths[0][0]:
        raise InputError(f"history {label!r} must hold lists of one length, at least 1; found the shapes {lengths}")
    steps = columns[0]
    if not (np.isfinite(steps).all() and (np.diff(steps) > 0).all()):
        raise InputError(f"the steps of history {label!r} must rise and be finite, found {steps.tolist()}")
    if any(np.isinf(column).any() for column in columns[1:]):
        raise InputError(f"history {label!r} must be finite, or NaN where nothing was measured")
    if len(columns) == 2:
        columns += [np.full(len(steps), np.nan)] * 2
    low, high = columns[2], columns[3]
    if (low > high).any() or (np.isnan(low) != np.isnan(high)).any():
        raise InputError(f"history {label!r} must have low <= high at every step, both known or neither")
    return np.stack(columns, axis=1)


def _stretches(known: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The indices of each run of true values that is longer than one."""
    at = np.flatnonzero(known)
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return [run for run in runs if len(run) > 1]


def _row_text(row: NDArray[np.float64], step: str) -> list[str]:
    at, value, low, high = row.tolist()
    interval = "" if math.isnan(low) else f" ({low:.4g} to {high:.4g})"
    return [f"{safe(cut(step, HOVER_WIDTH))} {at:g}", f"{value:.4g}{interval}"]


def _table(curves: Mapping[str, NDArray[np.float64]], quantity: str, step: str) -> str:
    rows = ""
    for label, curve in curves.items():
        known = curve[~np.isnan(curve[:, 1])]
        cells = ["–", "–", "–"]
        if len(known):
            at, value, low, high = known[-1].tolist()
            top = known[known[:, 1].argmax()]
            band = "" if math.isnan(low) else f"<small>{low:.4g} to {high:.4g}</small>"
            cells = [f"{value:.4g}{band}", f"{at:g}", f"{top[1]:.4g} at {top[0]:g}"]
        rows += (
            f'<tr><td class="name wider">{html.escape(label)}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        )
    head = ("run", f"last {quantity}", f"at {step}", "largest")
    titles = "".join(f'<th class="name" scope="col">{html.escape(name)}</th>' for name in head)
    return f'<div class="wide" tabindex="0" role="region" aria-label="ends"><table id="summary"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'
