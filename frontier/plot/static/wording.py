"""Fit words into the room that they have: measure them, wrap them, shorten what is too long."""

import functools
from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import Formatter, MaxNLocator


@functools.cache
def _ruler() -> RendererAgg:
    return RendererAgg(1, 1, 72)


@functools.lru_cache(maxsize=4096)
def _width(text: str, size: float, weight: str, style: tuple[str, ...]) -> float:
    *family, _ = style  # hinting, the last, changes widths and so is part of what the cache tells apart
    font = FontProperties(family=family, size=size, weight=weight)
    width, _, _ = _ruler().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of one line of text in inches, in the font of the style that is in force."""
    return _width(text, size, weight, (*rcParams["font.family"], rcParams["text.hinting"]))


def wrap(text: str, room: float, size: float, *, lines: int | None = None, weight: str = "normal") -> str:
    """Break a text into lines no wider than `room` inches, at spaces where there are some, inside a word that is too long for a line.

    Args:
        text (`str`): its own line breaks stay; what can't be printed, such as control characters, which an SVG file may not hold, goes.
        room (`float`): inches.
        size (`float`): of the font, in points.
        lines (`int`, *optional*): the most there may be; what comes after is cut off and "…" says so.
        weight (`str`, *optional*, defaults to `"normal"`): of the font.
    """
    result: list[str] = []
    text = "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "" for c in text)
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if text_width(joined, size, weight) <= room:
                line = joined
                continue
            if line:
                result.append(line)
            line = word
            while text_width(line, size, weight) > room and len(line) > 1:
                cut = _fitting(line, room, size, weight)
                result.append(line[:cut])
                line = line[cut:]
        result.append(line)
    if lines is not None and len(result) > lines:
        last = result[lines - 1]
        while last and text_width(last + "…", size, weight) > room:
            last = last[:-1]
        result = [*result[: lines - 1], last.rstrip() + "…"]
    return "\n".join(result)


def _fitting(word: str, room: float, size: float, weight: str) -> int:
    """How many characters of a word fit, at least one."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(word[:middle], size, weight) <= room else (low, middle - 1)
    return low


def height_of(text: str, size: float, spacing: float = 1.3) -> float:
    """The height in inches that lines of text take."""
    return (text.count("\n") + 1) * size * spacing / 72 if text else 0.0


class NumberFormatter(Formatter):
    """Tick labels with as many digits as it takes to tell neighbours apart, and no separate factor at the end of the axis, which would run into its label."""

    def __init__(self, places: Sequence[float] = ()) -> None:
        self._places = np.unique(np.asarray(places, dtype=float))

    def set_locs(self, locs: Sequence[float]) -> None:
        """Take note of all ticks; matplotlib calls this."""
        self._places = np.unique(np.asarray(locs, dtype=float))

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick."""
        places = self._places
        gaps = np.diff(places)
        step = float(gaps.min()) if len(gaps) else max(abs(x), 1e-300)
        largest = float(np.abs(places).max(initial=abs(x)))
        # Steps such as 0.05 or 2.5 need one digit more than their size says.
        digits = next(
            (d for d in range(-12, 16) if abs(step * 10.0**d - round(step * 10.0**d)) < 1e-6 * step * 10.0**d), 15
        )
        if largest < 1e5 and digits <= 4:
            return self.fix_minus(f"{x:.{max(digits, 0)}f}" if round(x, max(digits, 0)) else "0")
        if abs(x) < step * 1e-6:
            return "0"
        exponent = int(np.floor(np.log10(largest)))
        return self.fix_minus(f"{x / 10.0**exponent:.{max(digits + exponent, 0)}f}e{exponent}")


def numbered(axis: Axis, room: float, least: float = 0.55) -> None:
    """Put ticks with `NumberFormatter` on an axis that is `room` inches long, at least `least` inches from each other."""
    axis.set_major_locator(MaxNLocator(nbins=max(2, min(8, int(room / least))), steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(NumberFormatter())
