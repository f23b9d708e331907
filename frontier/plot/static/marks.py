"""Say which front a mark belongs to in ways that survive a black-and-white printer: marker, line style and hatch beside the colour."""

from typing import Any

from matplotlib.artist import Artist
from matplotlib.lines import Line2D

from frontier.plot.colours import SERIES
from frontier.plot.static.sheet import INK
from frontier.plot.view import View

MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.")
HATCHES = ("////", "\\\\\\\\", "....", "xxxx")
STAR: dict[str, Any] = {"marker": "*", "color": "#000000", "mec": "white", "mew": 0.8, "ls": "none"}
RING: dict[str, Any] = {"marker": "o", "ls": "none", "mfc": "none", "mec": "black", "mew": 1.4}
ISO: dict[str, Any] = {"color": "black", "lw": 1.3, "ls": (0, (7, 2, 1.5, 2, 1.5, 2))}


def marker_of(number: int) -> str:
    """The marker of the n-th front."""
    return MARKERS[number % len(MARKERS)]


def line_of(number: int) -> str:
    """The line style of the n-th front; with `marker_of` it stays unique for 24 fronts."""
    return LINES[(number + number // len(MARKERS)) % len(LINES)]


def series_of(number: int) -> str:
    """The colour of the n-th front."""
    return SERIES[number % len(SERIES)]


def curve_mark(number: int, label: str) -> Line2D:
    """Legend handle of the n-th curve."""
    return Line2D(
        [],
        [],
        color=series_of(number),
        ls=line_of(number),
        marker=marker_of(number),
        mec="white",
        mew=0.5,
        lw=1.7,
        label=label,
    )


def front_marks(view: View, *, lines: bool, ellipses: bool = False) -> list[Artist]:
    """Legend handles for what every picture of rewards shows: fronts, dominated points, uncertainty, reference policy and picks.

    Args:
        view (`View`): what is drawn.
        lines (`bool`): whether a line joins the points of a front.
        ellipses (`bool`, *optional*, defaults to `False`): whether confidence regions are drawn.
    """
    marks: list[Artist] = [
        Line2D(
            [],
            [],
            marker=marker_of(i),
            ls=line_of(i) if lines else "none",
            color="#707070",
            mec=INK,
            ms=7,
            label=la.label,
        )
        for i, la in enumerate(view.layers)
    ]
    if any(not layer.kept.all() for layer in view.layers):
        marks.append(
            Line2D([], [], marker="o", ls="none", mfc="white", mec="#707070", mew=1.3, ms=7, label="dominated (hollow)")
        )
    if ellipses:
        region = Line2D(
            [], [], marker="o", ls="none", mfc="#e4e4e4", mec="#707070", ms=15, label="95 % region of the two means"
        )
        marks.append(region)
    if view.references:
        marks.append(Line2D([], [], **STAR, ms=13, label="reference policy"))
    return [*marks, *pick_marks(view, lines=lines and len(view.objectives) != 2)]


def pick_marks(view: View, *, lines: bool = False) -> list[Artist]:
    """Legend handles of the picked points: rings, on a thick line where points are lines."""
    look = RING | ({"ls": "-", "lw": 2.4, "color": "black"} if lines else {})
    picks = view.layers[0].lettered_picks()
    return [Line2D([], [], **look, ms=11, label=f"{letter}: {label} (picked)") for letter, label, _ in picks]
