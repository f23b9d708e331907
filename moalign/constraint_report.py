"""End a constrained run with a verdict: does the trained policy meet each constraint on held-out prompts, how sure is that, and did its multiplier settle?"""

import json
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from frontier.atomic import write_text
from frontier.errors import InputError, unknown_name
from frontier.measure.uncertainty.lower_bounds import mean_and_error, skewness_bound
from moalign.constraint_history import Moment, Oscillation, log_name
from moalign.scalarize.lagrangian import Constraint

SCHEMA_VERSION = 1


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

    @property
    def title(self) -> str:
        """The constraint, with its tolerance."""
        return f"{self.constraint} ± {self.tolerance:g}" if self.constraint.kind == "equal" else str(self.constraint)

    @property
    def last_multiplier(self) -> str:
        """For print; empty if it is not known."""
        return "" if self.multiplier is None else f"{self.multiplier:.4g}{' (at the cap)' if self.at_cap else ''}"

    def to_json(self) -> dict[str, Any]:
        """All fields, those of the constraint beside the others."""
        found = asdict(self)
        return found.pop("constraint") | found


@dataclass(frozen=True)
class ConstraintReport:
    r"""The report that ends a constrained run.

    With $\bar r$ and $s$ the mean and standard deviation of n prompts' mean rewards, the interval at `level` $1 - \alpha$ is
    $\bar r \pm t_{1-\alpha/2,\,n-1}\, s / \sqrt n$. The certificate is the safety test of HC-RLHF ([Chittepu et al., 2025](https://arxiv.org/abs/2506.08266)) with bounds
    that give way to the skew of the rewards (`frontier.measure.uncertainty.lower_bounds.skewness_bound`, $B$). At $\delta / m$ for m constraints (Bonferroni), it is given

    - to `above` if $B(r)$ is at least the threshold,
    - to `below` if $-B(-r)$ is at most the threshold,
    - to `equal` if both lie within the tolerance of the threshold (two one-sided tests).

    So the chance that any constraint which does not hold is certified is at most $\delta$, if these prompts neither trained nor chose the policy. At $\delta$ = 5 % and a mean just
    on the wrong side, `above` was certified in 1.6, 4.4 and 4.6 % (n = 10, 100, 1000) of simulated runs for normal rewards, in 3.5, 4.1 and 4.8 % where a reward is exponential
    towards the bad side (the plain t bound: 14.5, 7.1 and 5.9 %), and in 0.0 and 4.5 % (n = 100, 1000) where 5 % of replies fail (t: 11.1 and 5.4 %). Before the first bad reply the prompts say
    nothing of it: failures so rare that the prompts may hold none need `frontier.certify` with the range of the reward. Prompts that are all alike get no certificate. A single
    inequality can be certified while its verdict is "not decided": a bound on one side lies closer to the mean than the ends of an interval at $1 - \delta$.

    Args:
        results (`tuple[ConstraintResult, ...]`): one per constraint.
        level (`float`): of the intervals.
        delta (`float`): $\delta$ of the certificates, all together.
        history (`Mapping[str, Sequence[Moment]]`): the multipliers' path by `OBJECTIVE_KIND`; empty if it is not known.
        cap (`float`, *optional*): the largest multiplier that the run allowed.

    Example:
        >>> safe = Constraint("safe", "above", 0.0)
        >>> report = ConstraintReport.measure([safe], [[0.4], [0.7], [0.3], [0.6], [0.5], [0.8]], ["safe"])
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
            history (*optional*): of [`moalign.constraint_history.read_history`].
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
            path = history.get(log_name(constraint), ())
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
        head = (
            "constraint",
            "prompts",
            "mean",
            f"{100 * self.level:.4g} % interval",
            "verdict",
            "certified",
            "last λ",
            "λ swings by",
        )
        rows = [head, ("---",) * len(head), *(_cells(result) for result in self.results)]
        several = f" (δ/{len(self.results)} each)" if len(self.results) > 1 else ""
        return "\n".join(
            [
                "## Constraints",
                "",
                *("| " + " | ".join(row) + " |" for row in rows),
                "",
                "Mean rewards over the prompts that were measured, in the rewards' own units, with t intervals. Certified: the one-sided bound in brackets, a t bound widened by the skew of the rewards, lies on the right side; the chance "
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
        from moalign.constraint_plot import plot_constraints  # matplotlib is slow to import

        return plot_constraints(self, path, dpi)


def _table(rewards: Any, objectives: Sequence[str]) -> NDArray[np.float64]:
    """`[N, K]` rewards, checked."""
    table: NDArray[np.float64] = torch.as_tensor(rewards).detach().double().cpu().numpy()
    if table.ndim != 2 or table.shape[1] != len(objectives):
        raise InputError(
            f"rewards must be [N, {len(objectives)}] for {', '.join(objectives)}, found {list(table.shape)}"
        )
    for name, column in zip(objectives, table.T, strict=True):
        if np.isinf(column).any():
            raise InputError(f"reward '{name}' is infinite: rewards must be finite, or NaN where unknown")
    return table


def _check_constraints(
    constraints: Sequence[Constraint], objectives: Sequence[str], history: Mapping[str, Sequence[Moment]]
) -> None:
    if not constraints:
        raise InputError("a constraint report needs at least one constraint")
    for constraint in constraints:
        if constraint.objective not in objectives:
            raise unknown_name("objective", constraint.objective, objectives)
        if history and not history.get(log_name(constraint)):
            raise unknown_name("constraint in the history", log_name(constraint), history)
    if len({log_name(constraint) for constraint in constraints}) < len(constraints):
        raise InputError(f"a constraint is given twice: {', '.join(map(str, constraints))}")


def _tolerance(tolerance: float | Mapping[str, float], constraint: Constraint) -> float:
    """How far off an `equal` constraint may be; inequalities allow nothing."""
    if constraint.kind != "equal":
        return 0.0
    value = tolerance.get(constraint.objective, 0.0) if isinstance(tolerance, Mapping) else tolerance
    if not 0 <= value < math.inf:
        raise InputError(f"the tolerance of '{constraint}' must be at least 0 and finite, found {value}")
    return float(value)


def _numbered(prompt_ids: Sequence[Hashable] | None, rows: int) -> NDArray[np.intp]:
    """For each row the number of its prompt."""
    if prompt_ids is None:
        return np.arange(rows)
    if len(prompt_ids) != rows:
        raise InputError(f"{len(prompt_ids)} prompt_ids for {rows} rows of rewards: give one per row")
    # A tensor's elements would hash by identity, each a prompt of its own.
    values = prompt_ids.tolist() if hasattr(prompt_ids, "tolist") else prompt_ids
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], dtype=np.intp)


def _prompt_means(column: NDArray[np.float64], ids: NDArray[np.intp]) -> tuple[NDArray[np.float64], int]:
    """The mean reward of each prompt of which any is known, and how many completions those are."""
    known = ~np.isnan(column)
    counts = np.bincount(ids[known])
    sums = np.bincount(ids[known], weights=column[known])
    return sums[counts > 0] / counts[counts > 0], int(known.sum())


def _judged(
    constraint: Constraint, means: NDArray[np.float64], tolerance: float, level: float, delta: float
) -> tuple[float, float, float, float, str, float, float, bool]:
    """Mean, standard error, interval, verdict, one-sided bounds and certificate; fields of a [`ConstraintResult`] in their order."""
    mean, error, n = mean_and_error(means)
    alike = error == 0.0
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    lower, upper = (mean, mean) if alike else (skewness_bound(means, delta), -skewness_bound(-means, delta))
    lowest = constraint.threshold - tolerance if constraint.kind != "below" else -math.inf
    highest = constraint.threshold + tolerance if constraint.kind != "above" else math.inf
    low, high = mean - reach, mean + reach
    if lowest <= low and high <= highest:
        verdict = "held"
    else:
        verdict = "violated" if high < lowest or low > highest else "not decided"
    certified = not alike and lowest <= lower and upper <= highest
    return mean, error, low, high, verdict, lower, upper, certified


def _settled(path: Sequence[Moment], cap: float | None) -> tuple[float | None, bool | None, Oscillation | None]:
    """The last multiplier, whether it is the cap, and its oscillation."""
    if not path:
        return None, None, None
    last = path[-1].multiplier
    # A log holds means over steps, so a multiplier at its cap may be off by rounding.
    at_cap = None if cap is None else abs(last) >= cap * (1 - 1e-6)
    return last, at_cap, Oscillation.of([moment.multiplier for moment in path])


def _cells(result: ConstraintResult) -> tuple[str, ...]:
    """A row of the table."""
    several = f" ({result.n_completions} completions)" if result.n_completions > result.n_prompts else ""
    bounds = {
        "above": f"≥ {result.lower_bound:.4g}",
        "below": f"≤ {result.upper_bound:.4g}",
        "equal": f"{result.lower_bound:.4g} to {result.upper_bound:.4g}",
    }
    alike = "; prompts all alike" if result.standard_error == 0 else ""
    return (
        result.title,
        f"{result.n_prompts}{several}",
        f"{result.mean:.4g}",
        f"{result.low:.4g} to {result.high:.4g}",
        result.verdict,
        f"{'yes' if result.certified else 'no'} ({bounds[result.constraint.kind]}{alike})",
        result.last_multiplier,
        "" if result.oscillation is None else str(result.oscillation),
    )
