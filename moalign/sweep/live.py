"""Show how far the jobs of a sweep are: a table that renews itself on a terminal, a line for every change elsewhere."""

import shutil
import sys
from collections.abc import Sequence
from time import monotonic
from typing import TextIO

from moalign.sweep.runner import Outcome

RENEW_EVERY = 1.0
# Shown first; what waits is what a short terminal leaves out.
_ORDER = {"running": 0, "failed": 1, "waiting": 2, "done": 3, "kept": 4}


class LiveTable:
    """Called with the outcomes again and again, by `run_jobs`.

    Args:
        stream (`TextIO`, *optional*): where to; stdout by default.
        terminal (`bool`, *optional*): whether it can be written over; asked of the stream by default.
    """

    def __init__(self, stream: TextIO | None = None, terminal: bool | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._terminal = self._stream.isatty() if terminal is None else terminal
        self._next, self._drawn = 0.0, 0
        self._said: dict[str, tuple[str, int]] = {}

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        """Show what changed, or on a terminal everything, at most once a second."""
        if not self._terminal:
            self._say_changes(outcomes)
        elif monotonic() >= self._next:
            self._next = monotonic() + RENEW_EVERY
            self._draw(outcomes)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Show the last state; a terminal's table goes, since the final one follows."""
        if self._terminal:
            self._erase()
        else:
            self._say_changes(outcomes)

    def _say_changes(self, outcomes: Sequence[Outcome]) -> None:
        for number, outcome in enumerate(outcomes, start=1):
            now = (outcome.state, len(outcome.codes))
            if self._said.get(outcome.job.name, ("waiting", 0)) != now:
                self._said[outcome.job.name] = now
                self._stream.write(f"[{number}/{len(outcomes)}] {outcome.job.name}: {change(outcome)}\n")
                self._stream.flush()

    def _draw(self, outcomes: Sequence[Outcome]) -> None:
        self._erase()
        columns, height = shutil.get_terminal_size((100, 24))
        lines = table(outcomes, height - 2)
        self._stream.write("".join(f"{line[: columns - 1]}\n" for line in lines))
        self._stream.flush()
        self._drawn = len(lines)

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._stream.flush()
            self._drawn = 0


def change(outcome: Outcome) -> str:
    """What has just become of a job, in words."""
    if outcome.state == "kept":
        return "done before"
    if outcome.state == "running":
        return f"started again, after {outcome.error}" if outcome.codes else "started"
    if outcome.state == "waiting":
        return f"{outcome.error}; starts again"
    if outcome.state == "failed":
        return f"failed after {len(outcome.codes)} attempt{'s' * (len(outcome.codes) > 1)}, {outcome.error}"
    return f"done in {outcome.seconds:.0f} s"


def table(outcomes: Sequence[Outcome], height: int) -> list[str]:
    """The lines of the table, at most `height`: what runs first."""
    counts = {state: sum(o.state == state for o in outcomes) for state in _ORDER}
    head = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    rows = [["job", "state", "step", "loss", "seconds"]]
    ranked = sorted(outcomes, key=lambda o: _ORDER[o.state])
    shown = ranked[: max(1, height - 3)]
    rows += [_row(outcome) for outcome in shown]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    left = len(ranked) - len(shown)
    return [head, *lines, *([f"... and {left} more"] if left else [])]


def _row(outcome: Outcome) -> list[str]:
    state = f"{outcome.state} (again)" if outcome.state in ("running", "waiting") and outcome.codes else outcome.state
    step = loss = ""
    if outcome.state == "running" and outcome.job.method is not None:
        found, total = outcome.folder.progress(), outcome.job.settings.get("max_steps", -1)
        if "step" in found:
            step = f"{found['step']}/{total}" if total > 0 else str(found["step"])
        if isinstance(found.get("loss"), float):
            loss = f"{found['loss']:.4g}"
    seconds = f"{outcome.elapsed():.0f}" if outcome.codes or outcome.state == "running" else ""
    return [outcome.job.name, state, step, loss, seconds]
