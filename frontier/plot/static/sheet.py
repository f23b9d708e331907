"""Lay a picture out: title and figures of merit on top, panels in the middle, a column that explains the marks at the right, units at the foot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from frontier.plot.static.wording import height_of, wrap

INK = "#303030"
MUTED = "#5a5a5a"
GREY = "#909090"
COLUMN = 2.55  # inches that explain the marks
EDGE = 0.12  # inches around everything
TITLE, TEXT, SMALL = 14.0, 9.5, 9.0


@dataclass(frozen=True)
class Key:
    """A scale of colours under the legend: its height in inches and what draws it into `(left, bottom, width, height)` in inches."""

    height: float
    draw: Callable[[Figure, tuple[float, float, float, float]], None]


def new_sheet(
    width: float,
    body: float,
    *,
    title: str,
    lines: Sequence[str] = (),
    notes: Sequence[str] = (),
    marks: Sequence[Artist] = (),
    key: Key | None = None,
) -> Figure:
    """A figure with everything but its panels; subplots that are added keep to the room in the middle.

    Args:
        width (`float`): inches of the whole figure.
        body (`float`): inches of height for panels, which grow if the column beside them needs more.
        title (`str`): wrapped if it is long.
        lines (`Sequence[str]`, *optional*): under the title.
        notes (`Sequence[str]`, *optional*): at the foot.
        marks (`Sequence[Artist]`, *optional*): handles of the legend, with their labels.
        key (`Key`, *optional*): under the legend.
    """
    room = width - 2 * EDGE
    heading = wrap(title, room, TITLE, lines=4, weight="bold")
    under = "\n".join(wrap(line, room, TEXT) for line in lines)
    foot = "\n".join(wrap(note, room, SMALL) for note in notes)
    top = EDGE + height_of(heading, TITLE) + height_of(under, TEXT) + 0.16
    bottom = EDGE + height_of(foot, SMALL) + (0.1 if foot else 0.0)

    figure = Figure(figsize=(width, body), dpi=100)
    FigureCanvasAgg(figure)
    legend_height = _legend(figure, marks) if marks else 0.0
    body = max(body, legend_height + (key.height + 0.25 if key else 0.0))
    height = top + body + bottom
    figure.set_size_inches(width, height)
    column = COLUMN if marks or key else 0.0
    if marks:
        figure.legends[0].set_bbox_to_anchor(((width - column) / width, 1 - top / height))
    y = 1 - EDGE / height
    figure.text(EDGE / width, y, heading, va="top", fontsize=TITLE, fontweight="bold", color=INK, linespacing=1.15)
    y -= (height_of(heading, TITLE) + 0.06) / height
    figure.text(EDGE / width, y, under, va="top", fontsize=TEXT, color=INK, linespacing=1.2)
    figure.text(EDGE / width, EDGE / height, foot, va="bottom", fontsize=SMALL, color=MUTED, linespacing=1.2)
    if key:
        place = (width - column + 0.1, height - top - legend_height - 0.18 - key.height, column - 0.3, key.height)
        key.draw(figure, place)
    rect = (EDGE / width, bottom / height, (room - column) / width, body / height)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=rect, w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.02))
    return figure


def inches(figure: Figure, place: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A place in inches as fractions of a figure."""
    width, height = figure.get_size_inches()
    return place[0] / width, place[1] / height, place[2] / width, place[3] / height


def plain(axes: Axes) -> None:
    """Take the frame back to what helps reading."""
    axes.grid(True, color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=INK, labelsize=SMALL)


def _legend(figure: Figure, marks: Sequence[Artist]) -> float:
    """Add the legend and return its height in inches."""
    for mark in marks:
        mark.set_label(wrap(str(mark.get_label()), COLUMN - 0.62, SMALL, lines=5))
    legend = figure.legend(
        handles=list(marks), loc="upper left", frameon=False, fontsize=SMALL, labelspacing=0.75, handlelength=2.0
    )
    legend.set_in_layout(False)
    return float(legend.get_window_extent(figure.canvas.get_renderer()).height / figure.dpi)  # type: ignore[attr-defined]
