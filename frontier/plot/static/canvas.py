"""Write a figure to a file: PNG, SVG or PDF by its suffix, the same bytes for the same input, whatever style the caller gave matplotlib."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from frontier.atomic import replace_file
from frontier.errors import InputError, unknown_name

FORMATS = (".png", ".svg", ".pdf")
MAX_DPI = 1200
# DejaVu comes with matplotlib; the others have the letters that it lacks, where they are installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Emoji",
)
STYLE: dict[str, Any] = {
    "text.parse_math": False,  # a $ in a name is a $
    "text.hinting": "none",  # widths in proportion to the resolution, so that what fits on one fits on all
    "svg.fonttype": "none",  # text stays text: it can be searched and edited
    "svg.hashsalt": "frontier",
    "pdf.fonttype": 42,
    "hatch.linewidth": 0.7,
}
# Styling goes through matplotlib's global settings, which threads share.
_LOCK = threading.RLock()


@contextmanager
def picture_style() -> Iterator[None]:
    """Matplotlib's defaults with `STYLE` for as long as the block runs; the caller's settings come back after it."""
    with _LOCK, matplotlib.rc_context():
        matplotlib.rcdefaults()
        installed = set(fontManager.get_font_names())
        settings: Any = matplotlib.rcParams  # typed by its keys, which STYLE is not
        settings.update(STYLE | {"font.family": [name for name in FONTS if name in installed]})
        yield


def write_picture(draw: Callable[[], Figure], path: str | os.PathLike[str], dpi: int) -> Path:
    """Draw and write a figure; it is written beside and renamed, so there is never half a file.

    Args:
        draw (`Callable`): gives the figure; not called when the path can't be written to.
        path (`str` or `PathLike`): ends in .png, .svg or .pdf; folders are made.
        dpi (`int`): pixels per inch of a PNG, at most 1200.

    Raises:
        InputError: another suffix, or a `dpi` out of range; and what `draw` refuses.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise unknown_name(f"suffix of {path.name}: pictures have no format", suffix, FORMATS)
    if isinstance(dpi, bool) or not isinstance(dpi, int) or not 1 <= dpi <= MAX_DPI:
        raise InputError(f"dpi must be a whole number from 1 to {MAX_DPI}, found {dpi!r}")
    # A date inside would make equal pictures differ.
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    with picture_style():
        figure = draw()
        FigureCanvasAgg(figure)
        with replace_file(path) as beside:
            figure.savefig(beside, format=suffix[1:], dpi=dpi, facecolor="white", metadata=undated)
    return path
