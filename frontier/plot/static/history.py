"""Draw how an indicator of a front, such as its hypervolume, went over training."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.plot.static.canvas import write_picture
from frontier.plot.static.labels import settle
from frontier.plot.static.marks import curve_mark, line_of, marker_of, series_of
from frontier.plot.static.sheet import new_sheet, plain
from frontier.plot.static.wording import numbered, wrap

_MARKED = 40  # a run of more steps is read as a line


@dataclass(frozen=True)
class Run:
    """One run as it is drawn: `[m]` steps, values and, where they are known, the ends of an interval."""

    label: str
    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None


def plot_history(
    histories: Mapping[str, Sequence[ArrayLike]],
    path: str | os.PathLike[str],
    *,
    indicator: str = "hypervolume",
    unit: str = "product of the rewards' units",
    higher_is_better: bool = True,
    step: str = "training step",
    title: str | None = None,
    note: str = "",
    dpi: int = 150,
) -> Path:
    """Draw an indicator over training steps, a line a run: PNG, SVG or PDF.

    Args:
        histories (`Mapping`): label to `(steps, values)` or `(steps, values, low, high)`, each `[m]`. Steps rise; a value that is NaN leaves a gap; low and high are the ends of an
            interval (95 %), NaN = not known.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        indicator (`str`, *optional*, defaults to `"hypervolume"`): what the values are.
        unit (`str`, *optional*): of the values; the default is that of hypervolumes.
        higher_is_better (`bool`, *optional*, defaults to `True`): the direction, written at the axis.
        step (`str`, *optional*, defaults to `"training step"`): what the steps are.
        title (`str`, *optional*): over the picture.
        note (`str`, *optional*): at the foot: hypervolumes mean something only with their reference point, so name it here.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture, written beside and renamed.

    Raises:
        InputError: no run, a run that is not of 2 or 4 equally long rows of numbers, steps that don't rise, no finite value, or an interval that does not contain its value; or another suffix.

    Example:
        >>> plot_history({"steerable": ([0, 100, 200], [0.1, 0.4, 0.5])}, "hypervolume.svg", note="Reference point (0, 0).")  # doctest: +SKIP
    """
    direction = "higher" if higher_is_better else "lower"

    def draw() -> Figure:
        label = f"{indicator}\n({unit}; {direction} is better)" if unit else f"{indicator}\n({direction} is better)"
        return draw_history(
            runs_of(histories), label, step, title or f"{indicator[:1].upper()}{indicator[1:]} over training", note
        )

    return write_picture(draw, path, dpi)


def runs_of(histories: Mapping[str, Sequence[ArrayLike]]) -> list[Run]:
    """Check what `plot_history` was given."""
    if not isinstance(histories, Mapping) or not histories:
        raise InputError(
            f"histories must map labels to (steps, values) or (steps, values, low, high), found {histories!r}"
        )
    return [_run(str(label), rows) for label, rows in histories.items()]


def _run(label: str, rows: Any) -> Run:
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__len__") or len(rows) not in (2, 4):
        raise InputError(f"history {label!r} must be (steps, values) or (steps, values, low, high), found {rows!r}")
    names = ("steps", "values", "low", "high")[: len(rows)]
    arrays = []
    for name, row in zip(names, rows, strict=True):
        try:
            array = np.asarray(row, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} of history {label!r} must be numbers: {error}") from error
        if array.ndim != 1 or len(array) != len(np.atleast_1d(rows[0])) or np.isinf(array).any():
            raise InputError(f"{name} of history {label!r} must be finite numbers, one a step, found {row!r}")
        arrays.append(array)
    steps, values = arrays[:2]
    if np.isnan(steps).any() or (np.diff(steps) <= 0).any():
        raise InputError(f"steps of history {label!r} must rise, found {steps.tolist()}")
    if not np.isfinite(values).any():
        raise InputError(f"history {label!r} has no value that is known")
    if len(arrays) == 2:
        return Run(label, steps, values, None, None)
    low, high = arrays[2:]
    bad = np.flatnonzero((low > values) | (high < values))
    if len(bad):
        i = int(bad[0])
        raise InputError(
            f"interval of history {label!r} at step {steps[i]:g} must contain {values[i]:g}, found {low[i]:g} to {high[i]:g}"
        )
    return Run(label, steps, values, low, high)


def draw_history(runs: Sequence[Run], label: str, step: str, title: str, note: str) -> Figure:
    """The figure of `plot_history`; `label` is that of the vertical axis."""
    marks: list[Artist] = [curve_mark(i, run.label) for i, run in enumerate(runs)]
    if any(run.low is not None for run in runs):
        marks.append(Patch(facecolor="#d5d5d5", edgecolor="#9a9a9a", label="95 % interval"))
    figure = new_sheet(10.0, 5.0, title=title, notes=[note] if note else [], marks=marks)
    axes = figure.add_subplot()
    plain(axes)
    for number, run in enumerate(runs):
        colour = series_of(number)
        if run.low is not None and run.high is not None:
            axes.fill_between(run.steps, run.low, run.high, color=colour, alpha=0.18, lw=0, zorder=1)
            for edge in (run.low, run.high):
                axes.plot(run.steps, edge, color=colour, lw=0.6, alpha=0.7, zorder=1)
            # A single step has no width to fill.
            if len(run.steps) == 1:
                axes.vlines(run.steps, run.low, run.high, color=colour, lw=1.2, zorder=1)
        # Long runs carry few marks, at places that differ between runs.
        every = max(1, len(run.steps) // 10) if len(run.steps) > _MARKED else 1
        axes.plot(
            run.steps,
            run.values,
            color=colour,
            lw=1.7,
            ls=line_of(number),
            marker=marker_of(number),
            markevery=(number * every // max(len(runs), 1), every),
            ms=5.5,
            mec="white",
            mew=0.5,
            zorder=3,
        )
    axes.margins(0.04, 0.08)
    numbered(axes.xaxis, 6.4, 0.7)
    numbered(axes.yaxis, 4.4)
    axes.set_xlabel(wrap(step, 6.0, 10, lines=3))
    axes.set_ylabel(wrap(label, 4.2, 10, lines=4))
    settle(figure)
    return figure
