"""Lagrangian constraints: maximise the objective while others are held above, below or at a threshold."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from moalign.scalarize.base import Scalarizer, StatefulScalarizer, check_width
from moalign.scalarize.linear import Linear

KINDS = ("above", "below", "equal")
DUALS = ("lambda", "log_lambda", "exponentiated")


@dataclass(frozen=True)
class Constraint:
    """One objective's mean is to be above, below or at a threshold.

    Args:
        objective (`str`): its name.
        kind (`str`): `"above"`, `"below"` or `"equal"`.
        threshold (`float`): in the units of the rewards that the [`Lagrangian`] is given (see `normalised`).

    Raises:
        InputError: an unknown kind, or a threshold that is not finite.
    """

    objective: str
    kind: Literal["above", "below", "equal"]
    threshold: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of constraint", str(self.kind), KINDS)
        if not math.isfinite(self.threshold):
            raise InputError(f"the threshold of '{self.objective}' must be finite, found {self.threshold}")

    def __str__(self) -> str:
        return f"{self.objective} {self.kind} {self.threshold:g}"

    def normalised(self, location: float, scale: float) -> "Constraint":
        """The same constraint on `(reward - location) / scale`, for a trainer that normalises rewards."""
        return Constraint(self.objective, self.kind, (self.threshold - location) / scale)

    def violation(self, rewards: Any) -> Any:
        """How far rewards (a float or a tensor) are on the wrong side, in their units: positive is violated. For `equal` it is reward minus threshold."""
        return self.threshold - rewards if self.kind == "above" else rewards - self.threshold

    def held(self, mean: float, tolerance: float = 0.0) -> bool:
        """Whether a mean reward meets the constraint."""
        gap: float = self.violation(mean)
        return (abs(gap) if self.kind == "equal" else gap) <= tolerance


class Lagrangian(StatefulScalarizer):
    r"""Dual ascent on constraints (Safe-RLHF, [Dai et al., 2024](https://arxiv.org/abs/2310.12773)) with PID damping ([Stooke et al., 2020](https://arxiv.org/abs/2007.03964)).

    With $c_i$ the violation of constraint i in a row (positive = on the wrong side) and $s$ the objective, a row's signal is

    $$ \frac{s(r \mid w) - \sum_i \lambda_i c_i}{1 + \sum_i |\lambda_i|} $$

    or its numerator alone (`normalise=False`). After each batch, with $v_i$ the mean of $c_i$ over the last `window` rows, `update` moves the integral state by

    - `"lambda"`: $\lambda_i \leftarrow \lambda_i + \eta v_i$, from 0 up (of any sign for `equal`);
    - `"log_lambda"`: $\log \lambda_i \leftarrow \log \lambda_i + \eta \lambda_i v_i$, as Safe-RLHF does. It is sticky: near 0 it hardly moves;
    - `"exponentiated"`: $\log \lambda_i \leftarrow \log \lambda_i + \eta v_i$, without that factor.

    An `equal` constraint always uses `"lambda"`, since its multiplier may be negative. The multiplier in use adds to the state $k_P v_i + k_D \Delta v_i$
    (for inequalities only a worsening $\Delta v_i > 0$ counts, as in the paper); pure integral control ($k_P = k_D = 0$) is known to oscillate, the more so the longer the window.
    The state stays between 0 and `cap` (`equal`: -cap and cap), so it does not wind up.

    A missing reward counts as being on its threshold, a row of which nothing is known is NaN. Constraints that nothing satisfies drive their multiplier to `cap`, where `status` says
    `saturated`; without a cap it grows without bound. State is held in Python floats and survives JSON bit by bit.

    Deviations from Safe-RLHF: the KL term is the learner's alone; one advantage of the combined reward replaces the combination of two critics' advantages.

    Args:
        objectives (`Sequence[str]`): K names, in the order of the rewards' last dimension.
        constraints (`Sequence[Constraint]`): one or more; several may concern one objective (a band).
        dual (`str`, *optional*, defaults to `"exponentiated"`): see above.
        rate (`float`, *optional*, defaults to 0.1): $\eta > 0$, per update and reward unit.
        initial (`float`, *optional*, defaults to 1.0): the first multiplier of inequalities, positive where its logarithm is used. `equal` starts at 0.
        window (`int`, *optional*, defaults to 128): how many of the latest known rewards of a constraint its mean is taken over.
        delay (`int`, *optional*, defaults to 0): so many first updates only fill the window.
        cap (`float`, *optional*): the largest multiplier; none by default.
        proportional, derivative (`float`, *optional*, default to 0.0): $k_P$ and $k_D$.
        normalise (`bool`, *optional*, defaults to `True`): divide by $1 + \sum |\lambda|$, which keeps the signal's size.
        keep_weights (`bool`, *optional*, defaults to `False`): let constrained objectives also count in $s$ with their preference weight. Otherwise their weight goes to the others.
        objective (`Scalarizer`, *optional*): $s$; the weighted sum by default.

    Raises:
        InputError: no constraint, an unknown name, two constraints alike, a number out of range.
    """

    def __init__(
        self,
        objectives: Sequence[str],
        constraints: Sequence[Constraint],
        dual: Literal["lambda", "log_lambda", "exponentiated"] = "exponentiated",
        rate: float = 0.1,
        initial: float = 1.0,
        window: int = 128,
        delay: int = 0,
        cap: float | None = None,
        proportional: float = 0.0,
        derivative: float = 0.0,
        normalise: bool = True,
        keep_weights: bool = False,
        objective: Scalarizer | None = None,
    ) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        if not self.constraints:
            raise InputError("a Lagrangian needs at least one constraint")
        for constraint in self.constraints:
            if constraint.objective not in self.objectives:
                raise unknown_name("objective", constraint.objective, self.objectives)
        if len({(c.objective, c.kind) for c in self.constraints}) < len(self.constraints):
            raise InputError(f"a constraint is given twice: {', '.join(map(str, self.constraints))}")
        if dual not in DUALS:
            raise unknown_name("dual", str(dual), DUALS)
        self.cap = math.inf if cap is None else float(cap)
        lowest = 0.0 if dual == "lambda" else math.ulp(0.0)
        for what, value, fine, allowed in (
            ("rate", rate, 0 < rate < math.inf, "positive"),
            ("cap", self.cap, self.cap > 0, "positive"),
            ("initial", initial, lowest <= initial <= self.cap and initial < math.inf, "positive and at most the cap"),
            ("window", window, window >= 1, "at least 1"),
            ("delay", delay, delay >= 0, "at least 0"),
            ("proportional", proportional, 0 <= proportional < math.inf, "at least 0"),
            ("derivative", derivative, 0 <= derivative < math.inf, "at least 0"),
        ):
            if not fine:
                raise InputError(f"{what} must be {allowed}, found {value}")
        self.dual, self.rate, self.delay = dual, rate, delay
        self.proportional, self.derivative = proportional, derivative
        self.normalise, self.keep_weights = normalise, keep_weights
        self.objective = objective or Linear()
        self._columns = [self.objectives.index(c.objective) for c in self.constraints]
        self._recent: list[deque[float]] = [deque(maxlen=window) for _ in self.constraints]
        self._integral = [0.0 if c.kind == "equal" else float(initial) for c in self.constraints]
        self._damping = [0.0] * len(self.constraints)
        self._last: list[float | None] = [None] * len(self.constraints)
        self.updates = 0

    @property
    def multipliers(self) -> tuple[float, ...]:
        """λ of every constraint as in use: integral state and damping, within its bounds."""
        return tuple(
            self._bounded(i, state + damping)
            for i, (state, damping) in enumerate(zip(self._integral, self._damping, strict=True))
        )

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[..., K]` rewards and `[..., K]` weights to `[...]` scalars; NaN where every reward of a row is missing."""
        check_width(f"the Lagrangian of {', '.join(self.objectives)}", len(self.objectives), rewards)
        free = rewards
        if not self.keep_weights:
            constrained = torch.zeros_like(rewards, dtype=torch.bool)
            constrained[..., self._columns] = True
            free = rewards.masked_fill(constrained, torch.nan)
        # NaN where only constrained objectives are known: those decide the row alone.
        value = self.objective(free, weights).nan_to_num()
        for multiplier, column, constraint in zip(self.multipliers, self._columns, self.constraints, strict=True):
            value = value - multiplier * constraint.violation(rewards[..., column]).nan_to_num()
        if self.normalise:
            value = value / (1 + math.fsum(map(abs, self.multipliers)))
        return value.masked_fill(rewards.isnan().all(-1), torch.nan)

    def update(self, rewards: Tensor) -> tuple[float, ...]:
        """Move the multipliers after a batch.

        A constraint whose objective is missing in the whole batch, or was never seen, keeps its multiplier.

        Args:
            rewards (`Tensor`): `[..., K]`, one row per completion, NaN = not known.

        Returns:
            `tuple[float, ...]`: the new multipliers, one per constraint.

        Raises:
            InputError: a reward is infinite, or there are not K of them.
        """
        check_width(f"the Lagrangian of {', '.join(self.objectives)}", len(self.objectives), rewards)
        rows = rewards.detach().reshape(-1, len(self.objectives)).double().cpu()
        if rows.isinf().any():
            name = self.objectives[int(rows.isinf().any(0).nonzero()[0])]
            raise InputError(f"reward '{name}' is infinite: rewards must be finite, or NaN where unknown")
        self.updates += 1
        for i, (constraint, column) in enumerate(zip(self.constraints, self._columns, strict=True)):
            fresh = [value for value in rows[:, column].tolist() if not math.isnan(value)]
            self._recent[i].extend(fresh)
            if fresh and self.updates > self.delay:
                self._move(i, constraint)
        return self.multipliers

    def observe(self, rewards: Tensor) -> None:
        """`update`, as a learner calls it after each batch."""
        self.update(rewards)

    def metrics(self) -> dict[str, float]:
        """For the log: every constraint's multiplier and violation (the latter once there is data)."""
        values = {}
        for i, (constraint, multiplier) in enumerate(zip(self.constraints, self.multipliers, strict=True)):
            name = f"{constraint.objective}_{constraint.kind}"
            values[f"lambda/{name}"] = multiplier
            if self._recent[i]:
                values[f"violation/{name}"] = float(constraint.violation(self.mean(i)))
        return values

    def mean(self, i: int) -> float:
        """Mean reward of constraint i's objective over its window; NaN before the first."""
        return math.fsum(self._recent[i]) / len(self._recent[i]) if self._recent[i] else math.nan

    def status(self, tolerance: float = 0.0) -> list[dict[str, Any]]:
        """For the log and the report: of each constraint its multiplier, the window's mean, violation, whether it is held, and whether λ sits at its cap."""
        return [
            {
                "constraint": str(constraint),
                "multiplier": multiplier,
                "mean": self.mean(i),
                "violation": constraint.violation(self.mean(i)),
                "held": constraint.held(self.mean(i), tolerance),
                "saturated": abs(multiplier) >= self.cap,
            }
            for i, (constraint, multiplier) in enumerate(zip(self.constraints, self.multipliers, strict=True))
        ]

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs, as JSON; `restore` goes on bit by bit the same."""
        return {
            "constraints": [[c.objective, c.kind, c.threshold] for c in self.constraints],
            "integral": list(self._integral),
            "damping": list(self._damping),
            "last": list(self._last),
            "recent": [list(values) for values in self._recent],
            "updates": self.updates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`.

        Raises:
            InputError: it belongs to other constraints.
        """
        there = [Constraint(*entry) for entry in state["constraints"]]
        if there != list(self.constraints):
            raise InputError(
                f"the checkpoint holds {'; '.join(map(str, there))}, this run {'; '.join(map(str, self.constraints))}"
            )
        self._integral = [float(value) for value in state["integral"]]
        self._damping = [float(value) for value in state["damping"]]
        self._last = [None if value is None else float(value) for value in state["last"]]
        for recent, values in zip(self._recent, state["recent"], strict=True):
            recent.clear()
            recent.extend(values)
        self.updates = int(state["updates"])

    def _move(self, i: int, constraint: Constraint) -> None:
        violation: float = constraint.violation(self.mean(i))
        now, signed = self._integral[i], constraint.kind == "equal"
        if signed or self.dual == "lambda":
            moved = now + self.rate * violation
        else:
            speed = self.rate * (now if self.dual == "log_lambda" else 1.0)
            # Clamped, so that a huge violation ends at the cap (or the largest float) instead of an overflow.
            moved = now * math.exp(max(-700.0, min(700.0, speed * violation)))
            # A multiplier that underflowed to 0 could never grow again.
            moved = max(moved, 1e-12)
        self._integral[i] = self._bounded(i, moved)
        change = 0.0 if self._last[i] is None else violation - self._last[i]  # type: ignore[operator]
        self._damping[i] = self.proportional * violation + self.derivative * (change if signed else max(0.0, change))
        self._last[i] = violation

    def _bounded(self, i: int, value: float) -> float:
        low = -self.cap if self.constraints[i].kind == "equal" else 0.0
        return max(low, min(self.cap, value, 1e300))
