"""The best policy that keeps constraints on expected rewards, with its multipliers and the proof (KKT residuals)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from frontier.errors import InputError
from moalign.oracle.dual import Dual, minimise
from moalign.oracle.optimum import check_beta, expected, kl_divergence


@dataclass(frozen=True)
class Bound:
    """One constraint on an expected reward, in the reward's units.

    Args:
        name (`str`): of the reward.
        kind (`"at_least"`, `"at_most"` or `"equal"`): which side is allowed.
        threshold (`float`): the limit.
    """

    name: str
    kind: Literal["at_least", "at_most", "equal"]
    threshold: float

    def __post_init__(self) -> None:
        if self.kind not in ("at_least", "at_most", "equal"):
            raise InputError(
                f"kind of the constraint on '{self.name}': found {self.kind!r}, allowed: at_least, at_most, equal"
            )
        if not np.isfinite(self.threshold):
            raise InputError(f"threshold of '{self.name}' must be finite, found {self.threshold}")

    @property
    def sign(self) -> float:
        """-1 for `at_most`, which is `at_least` of the negative."""
        return -1.0 if self.kind == "at_most" else 1.0


@dataclass(frozen=True)
class Constrained:
    r"""The exact solution of $\max_\pi E_\pi[s] - \beta\, KL(\pi \| \pi_{ref})$ subject to the bounds.

    Args:
        bounds (`tuple[Bound, ...]`): the M constraints.
        multipliers (`Tensor`): `[M]`, λ* in units of the score per unit of the constrained reward; ≥ 0 except for `equal`, where the sign says which
            way the constraint pulls. The policy is the linear optimum of $s \pm \lambda^{*\top} c$ (minus for `at_most`).
        value (`float`): E[s] − β KL at the optimum.
        score (`float`): E[s].
        levels (`Tensor`): `[M]`, the constrained rewards' expectations.
        kl (`float`): in nats.
        log_probs (`Tensor`): `[P, S]`.
        residuals (`dict[str, float]`): `violation` (of the worst constraint, 0 when all hold), `slackness` (greatest |λ · slack|) and `gap`
            (dual minus primal value); the gradient of the Lagrangian is zero by construction.
    """

    bounds: tuple[Bound, ...]
    multipliers: Tensor
    value: float
    score: float
    levels: Tensor
    kl: float
    log_probs: Tensor
    residuals: dict[str, float]


def constrained(
    log_reference: Tensor, scores: Tensor, columns: Tensor, bounds: Sequence[Bound], beta: float
) -> Constrained:
    """Solve constrained alignment through its convex dual in the M multipliers.

    Args:
        log_reference (`Tensor`): `[P, S]`, float64.
        scores (`Tensor`): `[P, S]`, what is maximised.
        columns (`Tensor`): `[P, S, M]`, the constrained rewards, in the order of `bounds`.
        bounds (`Sequence[Bound]`): the constraints.
        beta (`float`): the KL coefficient.

    Raises:
        InputError: no policy keeps the constraints, or a bound can only be met at the very edge, where no finite multiplier exists.
    """
    signs = torch.tensor([b.sign for b in bounds], dtype=torch.float64)
    thresholds = torch.tensor([b.threshold for b in bounds], dtype=torch.float64)
    _check_attainable(columns, bounds)
    dual = Dual(log_reference, scores, columns * signs, thresholds * signs, check_beta(beta))
    lower = [None if b.kind == "equal" else 0.0 for b in bounds]
    solution = minimise(dual, np.zeros(len(bounds)), lower) if bounds else np.zeros(0)
    log_probs = dual.policy(solution)
    levels = expected(log_probs, columns)
    kl = float(kl_divergence(log_probs, log_reference).mean())
    score = float(expected(log_probs, scores.unsqueeze(-1)))
    slack = (levels - thresholds) * signs
    equal = torch.tensor([b.kind == "equal" for b in bounds], dtype=torch.bool)
    violation = torch.where(equal, slack.abs(), (-slack).clamp(min=0))
    multipliers = torch.from_numpy(solution)
    residuals = {
        "violation": float(violation.max()) if bounds else 0.0,
        "slackness": float((multipliers * slack).abs().max()) if bounds else 0.0,
        "gap": dual.value_and_gradient(solution)[0] - (score - beta * kl),
    }
    return Constrained(tuple(bounds), multipliers, score - beta * kl, score, levels, kl, log_probs, residuals)


def _check_attainable(columns: Tensor, bounds: Sequence[Bound]) -> None:
    """Refuse constraints that no policy keeps with room to spare: the range of each, then, by a linear program, all of them together."""
    for column, bound in zip(columns.unbind(-1), bounds, strict=True):
        low, high = float(column.amin(1).mean()), float(column.amax(1).mean())
        if not (
            (bound.kind == "at_most" or bound.threshold < high) and (bound.kind == "at_least" or bound.threshold > low)
        ):
            raise InputError(
                f"no policy keeps '{bound.name}' {bound.kind.replace('_', ' ')} {bound.threshold:g}: its mean can be between "
                f"{low:.4g} and {high:.4g}"
            )
    if len(bounds) < 2:
        return
    prompts, completions, count = columns.shape
    flat = columns.reshape(-1, count).T.numpy() / prompts
    over, limits, equal, targets = [], [], [], []
    for row, bound in zip(flat, bounds, strict=True):
        if bound.kind == "equal":
            equal.append(np.append(row, 0.0))
            targets.append(bound.threshold)
        else:  # sign * (E[c] - threshold) >= room
            over.append(np.append(-bound.sign * row, 1.0))
            limits.append(-bound.sign * bound.threshold)
    each = np.repeat(np.arange(prompts), completions)
    ones = csr_matrix(
        (np.ones(len(each)), (each, np.arange(len(each)))), shape=(prompts, len(each) + 1)
    )  # every prompt's probabilities sum to 1
    answer = linprog(
        np.append(np.zeros(len(each)), -1.0),
        A_ub=csr_matrix(np.array(over)) if over else None,
        b_ub=limits or None,
        A_eq=vstack([ones, csr_matrix(np.array(equal))]) if equal else ones,
        b_eq=np.append(np.ones(prompts), targets),
        bounds=[(0, None)] * len(each) + [(None, 1.0)],
        method="highs",
    )
    if answer.status == 2 or (answer.status == 0 and -answer.fun < 1e-9):
        listed = ", ".join(f"{b.name} {b.kind.replace('_', ' ')} {b.threshold:g}" for b in bounds)
        raise InputError(f"no policy keeps all constraints at once: {listed}")
