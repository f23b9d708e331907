"""Read how a constrained run's multipliers moved, and say whether they settled."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frontier.errors import InputError, unknown_name
from moalign.scalarize.lagrangian import Constraint

if TYPE_CHECKING:
    from reward_heads import Normalizer

METRICS = "metrics.jsonl"


class Moment(NamedTuple):
    """A constraint's multiplier and the running mean of its reward (`None` = not known), as logged at a step."""

    step: int
    multiplier: float
    mean: float | None


@dataclass(frozen=True)
class Oscillation:
    """How a multiplier swings over the last third of its path.

    Args:
        amplitude (`float`): half of its maximum minus its minimum there.
        relative (`float`, *optional*): the amplitude by the size of its mean there; `None` where that is 0.
        turns (`int`): how often it changes direction.
    """

    amplitude: float
    relative: float | None
    turns: int

    @classmethod
    def of(cls, multipliers: Sequence[float]) -> "Oscillation":
        """Measured on the last third of a path that has at least one value."""
        last = np.asarray(multipliers, dtype=np.float64)[-math.ceil(len(multipliers) / 3) :]
        amplitude, mean = float(np.ptp(last)) / 2, abs(float(last.mean()))
        directions = np.sign(np.diff(last))
        directions = directions[directions != 0]
        return cls(amplitude, amplitude / mean if mean else None, int((np.diff(directions) != 0).sum()))

    def __str__(self) -> str:
        # Where the mean is about 0, as for `equal` constraints that do not bind, the share says nothing.
        share = f" ({self.relative:.0%})" if self.relative is not None and self.relative < 10 else ""
        return f"± {self.amplitude:.3g}{share}, {self.turns} turns"


def read_history(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    constraints: Sequence[Constraint],
    normalizer: "Normalizer | None" = None,
) -> dict[str, list[Moment]]:
    """The multipliers' path of a run, from its log.

    Args:
        source (path or `Iterable[Mapping]`): a run folder, its `metrics.jsonl`, or lines as there: `step`, and what `Lagrangian.metrics` gives.
        constraints (`Sequence[Constraint]`): with thresholds in the rewards' own units.
        normalizer (`Normalizer`, *optional*): of the rewards that the run's Lagrangian saw, to bring the running means back to their own units. The multipliers stay as
            they were, per normalised unit.

    Raises:
        InputError: there is no such file, a line is broken, or the log has nothing of a constraint.
    """
    lines: list[Mapping[str, Any]]
    if isinstance(source, str | os.PathLike):
        lines, place = list(_logged(Path(source))), str(source)
    else:
        lines, place = list(source), "the log"
    # A dictionary keeps the order in which the names appear.
    logged = {
        key.removeprefix("lambda/"): None
        for line in lines
        for key, value in line.items()
        if key.startswith("lambda/") and value is not None
    }
    if not logged:
        raise InputError(f"{place} has no multipliers ('lambda/OBJECTIVE_KIND') in any line")
    history = {}
    for constraint in constraints:
        if log_name(constraint) not in logged:
            raise unknown_name("constraint in the log", log_name(constraint), logged)
        scale = 1.0 if normalizer is None else normalizer.select([constraint.objective]).scale[0]
        history[log_name(constraint)] = list(_moments(lines, constraint, scale))
    return history


def _moments(lines: Sequence[Mapping[str, Any]], constraint: Constraint, scale: float) -> Iterable[Moment]:
    # The violation is threshold minus mean for `above`, mean minus threshold otherwise.
    sign = -scale if constraint.kind == "above" else scale
    for number, line in enumerate(lines, start=1):
        multiplier = line.get(f"lambda/{log_name(constraint)}")
        violation = line.get(f"violation/{log_name(constraint)}")
        if multiplier is None:
            continue
        if not isinstance(line.get("step"), int):
            raise InputError(f"line {number} of the log: 'step' must be a whole number, found {line.get('step')!r}")
        mean = None if violation is None else constraint.threshold + sign * violation
        yield Moment(line["step"], float(multiplier), mean)


def log_name(constraint: Constraint) -> str:
    """The constraint's name in `Lagrangian.metrics`."""
    return f"{constraint.objective}_{constraint.kind}"


def _logged(path: Path) -> Iterable[dict[str, Any]]:
    """The lines of a log file; a last one that a killed run left half-written is no line."""
    path = path / METRICS if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"{path}: no such file; the history is read from a run folder or its {METRICS}")
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise InputError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise InputError(f"{path}, line {number}: must be an object, found {line[:80]}")
        yield content
