"""Draw reliability diagrams: what a head predicted against what happened, one panel per head, with how many rows each bin stands for.

A point on the diagonal is calibrated, below it too sure, above it too timid ([DeGroot & Fienberg, 1983](https://doi.org/10.2307/2987588)). Pairs are read from the side that the head prefers,
so their diagram begins at 1/2. The data are the `bins` of a [`CalibrationError`].
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frontier.atomic import replace_file
from frontier.errors import InputError
from reward_heads.calibrate.ece import CalibrationError
from reward_heads.diagnose.report import number

# Dark filled circles and light hollow squares, solid and dashed: two series stay apart without any colour.
_STYLES = (
    {"color": "#1a52b0", "marker": "o", "ls": "-", "mfc": "#1a52b0"},
    {"color": "#b0410a", "marker": "s", "ls": "--", "mfc": "white"},
)
_PER_ROW = 4
_AXES = {
    "pairs": ("probability that the head gives its choice", "share that was preferred"),
    "binary": ("predicted probability", "share that was flagged"),
    "ratings": ("predicted rating", "mean rating"),
}


def plot_reliability(
    errors: Sequence[CalibrationError],
    path: str | os.PathLike[str],
    *,
    before: Sequence[CalibrationError] | None = None,
    title: str = "",
    dpi: int = 150,
) -> Path:
    """Draw one panel per calibration error as a PNG, with a histogram of the bins below.

    Args:
        errors (`Sequence[CalibrationError]`): of [`calibration_errors`] or a calibration report; at least one.
        path (`str` or path): where to write; folders are made, and there is never half a file.
        before (`Sequence[CalibrationError]`, *optional*): of the same heads before calibration, drawn dashed and hollow.
        title (`str`, *optional*): over the picture.
        dpi (`int`, *optional*, defaults to 150): pixels per inch.

    Raises:
        InputError: nothing to draw, or another number in `before`.
    """
    if not errors:
        raise InputError("a reliability diagram needs at least one calibration error, found none")
    if before is not None and len(before) != len(errors):
        raise InputError(f"before must have as many entries as errors, found {len(before)} and {len(errors)}")
    columns = min(len(errors), _PER_ROW)
    lines = math.ceil(len(errors) / columns)
    # In inches, since panels of two kinds in several lines leave automatic layouts with holes.
    top, bottom, width, height = (
        0.65 if title else 0.35,
        0.9 if before is not None else 0.55,
        3.7 * columns + 0.2,
        4.4 * lines,
    )
    height += top + bottom - 0.55
    figure = Figure(figsize=(width, height))
    edges = {"left": 0.62 / width, "right": 1 - 0.1 / width, "bottom": bottom / height, "top": 1 - top / height}
    grid = figure.add_gridspec(lines, columns, wspace=0.24, hspace=0.24, **edges)
    for index, error in enumerate(errors):
        inner = grid[index].subgridspec(2, 1, height_ratios=[3.4, 1], hspace=0.06)
        upper = figure.add_subplot(inner[0])
        lower = figure.add_subplot(inner[1], sharex=upper)
        _diagram(upper, error, None if before is None else before[index])
        _histogram(lower, error)
    if title:
        figure.suptitle(title, fontsize=12, x=0.1 / width, y=1 - 0.08 / height, ha="left", va="top", parse_math=False)
    if before is not None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False, fontsize=9)
    FigureCanvasAgg(figure)
    with replace_file(path) as beside:
        figure.savefig(beside, format="png", dpi=dpi, facecolor="white")
    return Path(path)


def _diagram(axes: Axes, error: CalibrationError, earlier: CalibrationError | None) -> None:
    low, high = _limits(error, earlier)
    axes.plot([low, high], [low, high], color="#808080", lw=1, zorder=1)
    if earlier is not None:
        _series(axes, earlier, _STYLES[1], "before")
    _series(axes, error, _STYLES[0], "after calibration (95 % intervals)" if earlier is not None else None)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_title(error.objective, fontsize=10.5, loc="left", fontweight="bold", parse_math=False)
    was = "" if earlier is None else f"{number(earlier.ece)} → "
    unit = " sd" if error.kind == "ratings" else ""
    text = f"ECE {was}{number(error.ece)}{unit}\ndebiased {number(error.debiased.value)}{unit}\nn = {error.n}"
    axes.text(
        0.03,
        0.97,
        text,
        transform=axes.transAxes,
        va="top",
        fontsize=8.5,
        bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1.5},
        zorder=5,
    )
    axes.set_ylabel(_AXES[error.kind][1], fontsize=9)
    axes.tick_params(labelsize=8.5, labelbottom=False)
    _plain(axes)


def _series(axes: Axes, error: CalibrationError, style: dict[str, str], label: str | None) -> None:
    x = np.array([b.predicted for b in error.bins])
    y = np.array([b.observed for b in error.bins])
    ends = np.array([b.interval for b in error.bins])
    arms = np.abs(ends - y[:, None]).T
    axes.errorbar(
        x,
        y,
        arms if style is _STYLES[0] else None,
        color=style["color"],
        marker=style["marker"],
        ls=style["ls"],
        mfc=style["mfc"],
        ms=4.5,
        lw=1.3,
        elinewidth=1,
        capsize=2,
        label=label,
        zorder=3,
    )


def _histogram(axes: Axes, error: CalibrationError) -> None:
    left = np.array([b.low for b in error.bins])
    width = np.array([b.high - b.low for b in error.bins])
    counts = np.array([b.n for b in error.bins])
    # Bins of equal mass are told apart by their width: the area is the number of rows.
    axes.bar(left, counts / np.maximum(width, 1e-9), width, align="edge", color="#d5d9e2", edgecolor="#404040", lw=0.7)
    axes.set_xlabel(_AXES[error.kind][0], fontsize=9)
    axes.set_yticks([])
    axes.set_ylabel("density", fontsize=9)
    axes.tick_params(labelsize=8.5)
    _plain(axes)


def _limits(error: CalibrationError, earlier: CalibrationError | None) -> tuple[float, float]:
    if error.kind != "ratings":
        least = min(bin_.interval[0] for one in (error, earlier) if one is not None for bin_ in one.bins)
        # Pairs begin at 1/2; where the head is wrong more often than right, there is something to see below.
        return (min(0.5, least) if error.kind == "pairs" else 0.0) - 0.01, 1.01
    shown = [value for b in error.bins for value in (b.low, b.high, *b.interval)]
    if earlier is not None:
        shown += [value for b in earlier.bins for value in (b.predicted, b.observed)]
    margin = 0.03 * (max(shown) - min(shown))
    return min(shown) - margin, max(shown) + margin


def _plain(axes: Axes) -> None:
    axes.grid(True, color="#ececec", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
