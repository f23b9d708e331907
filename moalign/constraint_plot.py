"""Draw how a constrained run went: each multiplier's path, and the running mean of its reward against the threshold."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frontier.atomic import replace_file
from frontier.plot.colours import BASE
from frontier.plot.static import INK
from moalign.constraint_history import Moment, log_name
from moalign.constraint_report import ConstraintReport, ConstraintResult

LINE, LIMIT = BASE[0], BASE[1]


def plot_constraints(report: ConstraintReport, path: str | os.PathLike[str], dpi: int = 150) -> Path:
    """Draw a report with a history as a PNG: a row per constraint, its multiplier on the left and its reward on the right. Folders are made."""
    height = 0.75 + 2.6 * len(report.results)
    figure = Figure(figsize=(11, height))
    panels = figure.subplots(len(report.results), 2, squeeze=False)
    for (left, right), result in zip(panels, report.results, strict=True):
        moments = report.history[log_name(result.constraint)]
        _draw_multiplier(left, result, moments, report.cap)
        _draw_mean(right, result, moments, report.level)
    for axes in panels[-1]:
        axes.set_xlabel("training step", fontsize=9)
    # One entry for what stands in several panels.
    shown = {
        label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.tight_layout(rect=(0, 0.4 / height, 1, 1), w_pad=2.5, h_pad=1.6)
    figure.legend(shown.values(), shown.keys(), loc="lower center", ncols=len(shown), frameon=False, fontsize=8.5)
    FigureCanvasAgg(figure)
    with replace_file(path) as beside:
        figure.savefig(beside, format="png", dpi=dpi, facecolor="white")
    return Path(path)


def _draw_multiplier(axes: Axes, result: ConstraintResult, moments: Sequence[Moment], cap: float | None) -> None:
    steps = [moment.step for moment in moments]
    axes.axvspan(steps[-math.ceil(len(steps) / 3)], steps[-1], color="#e6eaf2", lw=0, label="last third")
    _line(axes, steps, [moment.multiplier for moment in moments])
    # A cap that is far away would press the path flat.
    if cap is not None and cap <= 3 * max(abs(moment.multiplier) for moment in moments):
        for limit in (cap, -cap) if result.constraint.kind == "equal" else (cap,):
            axes.axhline(limit, color="#606060", ls=":", lw=1.3, label="cap")
    _finish(
        axes,
        f"λ ends at {result.last_multiplier}; last third {result.oscillation}",
        "multiplier λ",
    )


def _draw_mean(axes: Axes, result: ConstraintResult, moments: Sequence[Moment], level: float) -> None:
    constraint, steps = result.constraint, [moment.step for moment in moments]
    _line(axes, steps, [math.nan if m.mean is None else m.mean for m in moments], "running mean in training")
    # Beside the path, since it was measured after it.
    after = steps[-1] + 0.04 * max(steps[-1] - steps[0], 1)
    arms = [[result.mean - result.low], [result.high - result.mean]]
    label = f"held-out mean, {100 * level:.4g} % interval"
    axes.errorbar([after], [result.mean], arms, fmt="D", color="black", ms=5, capsize=4, label=label, zorder=4)
    axes.axhline(constraint.threshold, color=LIMIT, lw=1.4, ls="--", label="threshold")
    low, high = axes.get_ylim()
    if constraint.kind != "below":
        axes.axhspan(low, constraint.threshold - result.tolerance, color=LIMIT, alpha=0.1, lw=0, label="not allowed")
    if constraint.kind != "above":
        axes.axhspan(constraint.threshold + result.tolerance, high, color=LIMIT, alpha=0.1, lw=0, label="not allowed")
    axes.set_ylim(low, high)
    verdict = f"{result.title}: {result.verdict}{', certified' if result.certified else ''}"
    _finish(axes, verdict, f"reward {constraint.objective}")


def _line(axes: Axes, steps: Sequence[int], values: Sequence[float], label: str | None = None) -> None:
    # A path of few values is read at its points; one value alone would be invisible as a line.
    size = 3.5 if len(steps) <= 40 else 0
    axes.plot(steps, values, color=LINE, lw=1.6, marker="o", ms=size, label=label, zorder=3)


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=INK)
    axes.set_ylabel(label, fontsize=9)
    axes.grid(True, color="#ececec", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)
