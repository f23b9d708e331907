"""Every finding of this package as JSON for a page and as a table for a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A measured value and its interval; NaN where nothing could be measured.

    Args:
        value (`float`): the figure.
        low (`float`), high (`float`): its interval, by default of 95 %.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "–"
        return number(self.value) + ("" if math.isnan(self.low) else f" [{number(self.low)}, {number(self.high)}]")


class Report:
    """What every result can do: `to_json()` and `table()`, which is also its `str`."""

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump(..., allow_nan=False)`, with the fields' names; what is not known or infinite is `None`."""
        return plain(self)

    def table(self) -> str:
        """A table for a terminal."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.table()


def plain(value: Any) -> Any:
    """Dataclasses, arrays and numbers as what JSON has; NaN and infinities become `None`.

    Example:
        >>> plain({"accuracy": Estimate(0.5, float("nan"), float("inf"))})
        {'accuracy': {'value': 0.5, 'low': None, 'high': None}}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: float, digits: int = 3) -> str:
    """A number for a reader; a dash where it is not known.

    Example:
        >>> number(0.12345), number(-0.0001), number(float("nan")), number(1234.5)
        ('0.123', '0.000', '–', '1234')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"
    return text.removeprefix("-") if float(text) == 0 else text


def text_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of equal width: the first to the left, the others to the right.

    Example:
        >>> print(text_table(["objective", "n"], [["kind", 3]]))
        objective  n
        kind       3
    """
    cells = [[cell if isinstance(cell, str) else _cell(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def shorten(text: str, length: int = 60) -> str:
    """The beginning of a text in one line.

    Example:
        >>> shorten("one  two three", 9)
        'one two …'
    """
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return number(float(value)) if isinstance(value, float) else str(value)
