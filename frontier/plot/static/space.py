"""Draw fronts of three objectives in space, with what the eye needs to read depth from paper."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.proj3d import proj_transform
from numpy.typing import NDArray

from frontier.errors import InputError
from frontier.plot.static.canvas import write_picture
from frontier.plot.static.keys import weights_key
from frontier.plot.static.labels import Label, settle
from frontier.plot.static.marks import STAR, front_marks, marker_of
from frontier.plot.static.sheet import INK, SMALL, new_sheet
from frontier.plot.static.wording import NumberFormatter, wrap
from frontier.plot.view import Fronts, View, summary_lines, view_of

_ELEVATION, _AZIMUTH = 24.0, 35.0


def plot_space(
    fronts: Fronts,
    path: str | os.PathLike[str],
    *,
    title: str = "Pareto front",
    colour_by: str | None = None,
    picks: Mapping[str, int] | None = None,
    dpi: int = 150,
) -> Path:
    """Draw fronts of three objectives in space: PNG, SVG or PDF.

    Each point stands on a stalk whose foot lies on the floor, under it at the smallest reward of the third objective; points that are nearer to the reader are larger. The corner
    nearest to the reader and on top is where all rewards are best.

    Args:
        fronts (`ParetoFront` or `Mapping[str, ParetoFront]`): one front, or several by label, over the same three objectives.
        path (`str` or `PathLike`): where to write, ending in .png, .svg or .pdf; folders are made.
        title (`str`, *optional*): over the picture.
        colour_by (`str`, *optional*): without effect on three objectives, whose weights are mixed from three hues; checked all the same.
        picks (`Mapping[str, int]`, *optional*): points of the first front to point out: label to index.
        dpi (`int`, *optional*, defaults to 150): pixels per inch of a PNG.

    Returns:
        `Path`: the picture, written beside and renamed.

    Raises:
        InputError: not three objectives; see `frontier.plot.view.view_of`; or another suffix.
    """
    return write_picture(lambda: draw_space(view_of(fronts, colour_by, picks), title), path, dpi)


def draw_space(view: View, title: str) -> Figure:
    """The figure of `plot_space`."""
    if len(view.objectives) != 3:
        raise InputError(
            f"a picture in space needs three objectives, found {len(view.objectives)}: {', '.join(view.objectives)}; "
            "plot_front and plot_parallel take any number"
        )
    marks = front_marks(view, lines=False)
    marks.append(Line2D([], [], color="#8a8a8a", lw=0.9, marker="o", ms=3, label="stalk and foot on the floor"))
    note = f"Mean rewards in {view.unit}; higher is better on all three axes. Larger marks are nearer."
    figure = new_sheet(
        10.5, 6.2, title=title, lines=summary_lines(view), notes=[note], marks=marks, key=weights_key(view)
    )
    axes: Axes3D = figure.add_subplot(projection="3d", computed_zorder=False)
    low, high = _box(view)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.view_init(_ELEVATION, _AZIMUTH)
    axes.set_box_aspect((1, 1, 0.82), zoom=0.88)
    _dress(axes, view)
    places: list[NDArray[np.float64]] = []
    letters: list[tuple[NDArray[np.float64], str]] = []
    for number, layer in enumerate(view.layers):
        rewards = layer.front.rewards
        # The far ones first, so that the near ones cover them.
        for i in np.argsort(_nearness(rewards, low, high)):
            near, keep, colour = _nearness(rewards[i : i + 1], low, high)[0], layer.kept[i], layer.colours[i]
            _stalk(axes, rewards[i], low[2], colour, near)
            axes.scatter(
                *[[value] for value in rewards[i]],
                s=26 + 70 * near,
                c=colour if keep else "white",
                edgecolors=INK if keep else colour,
                linewidths=0.7 if keep else 1.4,
                marker=marker_of(number),
                depthshade=False,
                zorder=3 + near,
            )
        for letter, _, index in layer.lettered_picks():
            ring = {"s": 210, "facecolors": "none", "edgecolors": "black", "linewidths": 1.4, "zorder": 5}
            axes.scatter(*[[value] for value in rewards[index]], depthshade=False, **ring)
            letters.append((rewards[index], letter))
        places.append(rewards)
    for reference in view.references:
        place = np.array(reference.rewards)
        _stalk(axes, place, low[2], "black", 0.5)
        axes.plot(*[[value] for value in place], **STAR, ms=13, zorder=5)
        places.append(place[None])
    figure.draw_without_rendering()  # sets the projection, by which the letters find their flat places
    labels = [Label(axes, _flat(axes, place[None])[0], letter) for place, letter in letters]
    settle(figure, labels, [(axes, _flat(axes, np.concatenate(places)))])
    return figure


def _box(view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = view.extents()
    # Where all are equal the box needs some size all the same.
    room = np.where(high > low, 0.08 * (high - low), np.maximum(0.5 * np.abs(low), 0.5))
    return low - room, high + room


def _nearness(rewards: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[n]` from 0 (the far corner of the box) to 1 (the near one)."""
    up, around = np.radians(_ELEVATION), np.radians(_AZIMUTH)
    eye = np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])
    near: NDArray[np.float64] = (rewards - low) / (high - low) @ eye / eye.sum()
    return near


def _stalk(axes: Axes3D, place: NDArray[np.float64], floor: float, colour: str, near: float) -> None:
    x, y, z = place
    axes.plot(
        [x, x], [y, y], [floor, z], color=colour, lw=0.6 + 0.8 * near, alpha=0.45 + 0.4 * near, zorder=2 + near / 2
    )
    axes.plot([x], [y], [floor], "o", color="#8a8a8a", ms=3, zorder=1.5)


def _flat(axes: Axes3D, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[n, 2]` where points in space appear in the flat data units of the panel."""
    x, y, _ = proj_transform(*rows.T, axes.get_proj())
    return np.stack([np.asarray(x), np.asarray(y)], axis=-1)


def _dress(axes: Axes3D, view: View) -> None:
    ticks = {"labelsize": SMALL, "labelcolor": INK, "pad": 1}
    for k, axis in enumerate((axes.xaxis, axes.yaxis, axes.zaxis)):
        axis.set_pane_color((0.975, 0.975, 0.975, 1.0) if k < 2 else (0.93, 0.93, 0.93, 1.0))
        axis.line.set_color("#909090")
        axis._axinfo["grid"].update(color="#d8d8d8", linewidth=0.7)
        # The outermost ticks of two axes would meet at the corner of the box.
        axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10], prune="both"))
        axis.set_major_formatter(NumberFormatter())
        axis.set_rotate_label(False)
        axis.set_label_text(wrap(view.objectives[k], 1.7 if k < 2 else 1.0, 10, lines=4), fontsize=10)
    axes.xaxis.labelpad = axes.yaxis.labelpad = 16
    axes.zaxis.labelpad = 27
    axes.tick_params(**ticks)
