"""End a constrained run with a verdict: does the trained policy meet each constraint on held-out prompts, how sure is that, and did its multiplier settle?"""

import json
import math
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from frontier.atomic import replace_file, write_text
from frontier.errors import InputError, unknown_name
from moalign.scalarize.lagrangian import Constraint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reward_heads import Normalizer

METRICS = "metrics.jsonl"
SCHEMA_VERSION = 1


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


@dataclass(frozen=True)
class ConstraintResult:
    """What held-out prompts say about one constraint, in the units of its reward.

    Args:
        constraint (`Constraint`): what was asked.
        tolerance (`float`): how far from its threshold an `equal` constraint may lie.
        n_prompts, n_completions (`int`): of how many its reward is known.
        mean, standard_error (`float`): over the prompts' means.
        low, high (`float`): the two-sided interval of the mean.
        verdict (`str`): `"held"` (all of the interval is allowed), `"violated"` (none is) or `"not decided"`.
        lower_bound, upper_bound (`float`): one-sided bounds of the mean, for the certificate.
        certified (`bool`): the bound on every limited side is allowed, and the prompts differ, so that there is a spread to judge by.
        multiplier (`float`, *optional*): the last one.
        at_cap (`bool`, *optional*): whether that is the cap.
        oscillation (`Oscillation`, *optional*): of the multiplier.
    """

    constraint: Constraint
    tolerance: float
    n_prompts: int
    n_completions: int
    mean: float
    standard_error: float
    low: float
    high: float
    verdict: str
    lower_bound: float
    upper_bound: float
    certified: bool
    multiplier: float | None = None
    at_cap: bool | None = None
    oscillation: Oscillation | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields, those of the constraint beside the others."""
        found = asdict(self)
        return found.pop("constraint") | found


@dataclass(frozen=True)
class ConstraintReport:
    r"""The report that ends a constrained run.

    With $\bar r$ and $s$ the mean and standard deviation of n prompts' mean rewards, the interval at `level` $1 - \alpha$ is
    $\bar r \pm t_{1-\alpha/2,\,n-1}\, s / \sqrt n$. The certificate is the safety test of HC-RLHF ([Chittepu et al., 2025](https://arxiv.org/abs/2506.08266)): with
    $b = t_{1-\delta/m,\,n-1}\, s / \sqrt n$ for m constraints (Bonferroni), it is given

    - to `above` if $\bar r - b$ is at least the threshold,
    - to `below` if $\bar r + b$ is at most the threshold,
    - to `equal` if both lie within the tolerance of the threshold (two one-sided tests).

    So the chance that any constraint which does not hold is certified is at most $\delta$: exactly for normal prompt means, nearly for many prompts, and only if these
    prompts neither trained nor chose the policy. A reward that is rarely bad (one unsafe reply in hundreds) needs many more prompts than one that varies evenly: before the
    first bad reply $s$ says nothing of it. Prompts that are all alike get no certificate for that reason.

    Args:
        results (`tuple[ConstraintResult, ...]`): one per constraint.
        level (`float`): of the intervals.
        delta (`float`): $\delta$ of the certificates, all together.
        history (`Mapping[str, Sequence[Moment]]`): the multipliers' path by `OBJECTIVE_KIND`; empty if it is not known.
        cap (`float`, *optional*): the largest multiplier that the run allowed.

    Example:
        >>> safe = Constraint("safe", "above", 0.0)
        >>> report = ConstraintReport.measure([safe], [[0.4], [0.7], [0.1], [0.6]], ["safe"])
        >>> report.results[0].verdict, report.certified
        ('held', True)
    """

    results: tuple[ConstraintResult, ...]
    level: float
    delta: float
    history: Mapping[str, Sequence[Moment]]
    cap: float | None = None

    @classmethod
    def measure(
        cls,
        constraints: Sequence[Constraint],
        rewards: Any,
        objectives: Sequence[str],
        *,
        prompt_ids: Sequence[Hashable] | None = None,
        history: Mapping[str, Sequence[Moment]] | None = None,
        level: float = 0.95,
        delta: float = 0.05,
        tolerance: float | Mapping[str, float] = 0.0,
        cap: float | None = None,
    ) -> "ConstraintReport":
        """Judge constraints by the rewards of completions that the trained policy gave to held-out prompts (`moalign.evaluation.sample`).

        Args:
            constraints (`Sequence[Constraint]`): with thresholds in the rewards' own units.
            rewards (`Tensor` or array): `[N, K]` in their own units; NaN = not known, left out per objective.
            objectives (`Sequence[str]`): K names, in the order of the columns.
            prompt_ids (`Sequence`, *optional*): N values that tell which rows answer the same prompt; their rewards are averaged first, since only prompts are
                independent. By default every row is a prompt of its own.
            history (*optional*): of [`read_history`].
            level (`float`, *optional*, defaults to 0.95): of the intervals.
            delta (`float`, *optional*, defaults to 0.05): the chance of a false certificate.
            tolerance (`float` or `Mapping[str, float]`, *optional*, defaults to 0.0): for `equal`, how far from the threshold still counts as equal, in reward units;
                one for all or by objective. At 0 nothing can show that such a constraint holds.
            cap (`float`, *optional*): of the multipliers (`Lagrangian.cap`).

        Raises:
            InputError: a name is unknown, a constraint is given twice, a reward is infinite, an objective is known for no row or for a single prompt, or a number is out
                of range.
        """
        for what, value, least, most in (("level", level, 0.5, 1.0), ("delta", delta, 0.0, 0.5)):
            if not least < value < most:
                raise InputError(f"{what} must be above {least:g} and below {most:g}, found {value}")
        table, history = _table(rewards, objectives), history or {}
        _check_constraints(constraints, objectives, history)
        ids = _numbered(prompt_ids, len(table))
        results = []
        for constraint in constraints:
            allowance = _tolerance(tolerance, constraint)
            means, known = _prompt_means(table[:, list(objectives).index(constraint.objective)], ids)
            if len(means) < 2:
                at_all = "in every row" if not known else "for all prompts but one"
                raise InputError(
                    f"objective '{constraint.objective}' is not known {at_all} of {len(table)}: '{constraint}' can't be judged on fewer than 2 prompts"
                )
            judged = _judged(constraint, means, allowance, level, delta / len(constraints))
            path = history.get(_key(constraint), ())
            results.append(ConstraintResult(constraint, allowance, len(means), known, *judged, *_settled(path, cap)))
        return cls(tuple(results), level, delta, history, cap)

    @property
    def certified(self) -> bool:
        """Whether every constraint has its certificate."""
        return all(result.certified for result in self.results)

    @property
    def held(self) -> bool:
        """Whether every verdict is `"held"`."""
        return all(result.verdict == "held" for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON; `history` has `[step, multiplier, mean]` by constraint."""
        return {
            "schema_version": SCHEMA_VERSION,
            "level": self.level,
            "delta": self.delta,
            "cap": self.cap if self.cap is not None and math.isfinite(self.cap) else None,
            "held": self.held,
            "certified": self.certified,
            "constraints": [result.to_json() for result in self.results],
            "history": {name: [list(moment) for moment in path] for name, path in self.history.items()},
        }

    def to_markdown(self) -> str:
        """A section for the model card."""
        head = ("constraint", "prompts", "mean", f"{self.level:.4g} interval", "verdict", "certified", "last λ", "λ swings by")
        rows = [head, ("---",) * len(head), *(_cells(result) for result in self.results)]
        several = f" (δ/{len(self.results)} each)" if len(self.results) > 1 else ""
        return "\n".join(
            [
                "## Constraints",
                "",
                *("| " + " | ".join(row) + " |" for row in rows),
                "",
                "Mean rewards over held-out prompts, in the rewards' own units, with t intervals. Certified: the one-sided t bound in brackets lies on the right side; the chance "
                f"that any constraint which does not hold is certified is at most δ = {self.delta:g}{several}. λ swings: over the last third of its path.",
                "",
            ]
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `constraints.json` and `constraints.md` into a folder; each appears whole or not at all."""
        write_text(Path(folder) / "constraints.json", json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        write_text(Path(folder) / "constraints.md", self.to_markdown())

    def plot(self, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
        """Draw, for each constraint, its multiplier's path and the running mean of its reward against the threshold, as a PNG.

        Raises:
            InputError: the report has no history.
        """
        if not self.history:
            raise InputError("the picture shows the multipliers' path: give history=read_history(...) to the report")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        height = 0.9 + 2.6 * len(self.results)
        figure = Figure(figsize=(11, height))
        panels = figure.subplots(len(self.results), 2, squeeze=False)
        for (left, right), result in zip(panels, self.results, strict=True):
            moments = self.history[_key(result.constraint)]
            _draw_multiplier(left, result, moments, self.cap)
            _draw_mean(right, result, moments, self.level)
        for axes in panels[-1]:
            axes.set_xlabel("training step")
        labelled = {label: handle for row in panels for axes in row for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.tight_layout(rect=(0, 0.45 / height, 1, 1), w_pad=2.5, h_pad=1.6)
        figure.legend(labelled.values(), labelled.keys(), loc="lower center", ncols=4, frameon=False, fontsize=9)
        FigureCanvasAgg(figure)
        with replace_file(path) as beside:
            figure.savefig(beside, format="png", dpi=dpi, facecolor="white")
        return Path(path)


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
    lines = list(_logged(Path(source)) if isinstance(source, str | os.PathLike) else source)
    found = {key.removeprefix("lambda/"): 0 for line in lines for key in line if str(key).startswith("lambda/")}
    history: dict[str, list[Moment]] = {}
    for constraint in constraints:
        name, scale = _key(constraint), 1.0
        if name not in found:
            raise unknown_name("constraint in the log", name, found)
        if normalizer is not None:
            scale = normalizer.select([constraint.objective]).scale[0]
        # The violation is threshold minus mean for `above`, mean minus threshold otherwise.
        sign = -scale if constraint.kind == "above" else scale
        path = history[name] = []
        for line in lines:
            multiplier, violation = line.get(f"lambda/{name}"), line.get(f"violation/{name}")
            if multiplier is not None:
                mean = None if violation is None else constraint.threshold + sign * violation
                path.append(Moment(int(line["step"]), float(multiplier), mean))
    return history
