"""Minimises the convex dual that max-min and constrained alignment share, to machine precision, with its exact gradient and curvature."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from moalign.oracle.optimum import tilt

Vector = NDArray[np.float64]
POLISH_STEPS = 50


@dataclass(frozen=True)
class Dual:
    r"""The function $D(v) = \beta\, E_x \log E_{ref} \exp((s + v^\top c) / \beta) - v^\top \theta$, convex in v.

    Its gradient is $E_{\pi_v}[c] - \theta$ and its Hessian the mean over prompts of $Cov_{\pi_v}[c] / \beta$, where $\pi_v$ is the tilted reference.

    Args:
        log_reference (`Tensor`): `[P, S]`.
        scores (`Tensor`): `[P, S]`, s.
        columns (`Tensor`): `[P, S, M]`, c.
        thresholds (`Tensor`): `[M]`, θ.
        beta (`float`): the KL coefficient.
    """

    log_reference: Tensor
    scores: Tensor
    columns: Tensor
    thresholds: Tensor
    beta: float

    def policy(self, multipliers: Vector) -> Tensor:
        """`[P, S]` log-probabilities of π_v."""
        return self._tilt(multipliers)[0]

    def _tilt(self, multipliers: Vector) -> tuple[Tensor, Tensor]:
        return tilt(self.log_reference, self.scores + self.columns @ torch.from_numpy(multipliers), self.beta)

    def value_and_gradient(self, multipliers: Vector) -> tuple[float, Vector]:
        """D(v) and its gradient `[M]`."""
        log_probs, values = self._tilt(multipliers)
        means = torch.einsum("ps,psm->pm", log_probs.exp(), self.columns).mean(0)
        value = float(values.mean()) - float(self.thresholds.numpy() @ multipliers)
        return value, (means - self.thresholds).numpy()

    def hessian(self, multipliers: Vector) -> Vector:
        """`[M, M]`."""
        probabilities = self.policy(multipliers).exp()
        means = torch.einsum("ps,psm->pm", probabilities, self.columns)
        centred = self.columns - means[:, None]
        return (torch.einsum("ps,psm,psn->mn", probabilities, centred, centred) / (len(means) * self.beta)).numpy()


def minimise(dual: Dual, start: Vector, lower: Sequence[float | None], total: float | None = None) -> Vector:
    """The multipliers `[M]` that minimise the dual.

    Args:
        dual (`Dual`): the function.
        start (`Vector`): `[M]`, allowed.
        lower (`Sequence[float | None]`): bound from below of each multiplier, `None` where there is none.
        total (`float`, *optional*): what they must sum to.
    """
    rules = [{"type": "eq", "fun": lambda v: v.sum() - total, "jac": np.ones_like}] if total is not None else []
    bounds = [(low, None) for low in lower]
    found = minimize(
        dual.value_and_gradient,
        start,
        jac=True,
        bounds=bounds,
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    ).x
    floor = np.array([-np.inf if low is None else low for low in lower])
    return _polish(dual, np.maximum(found, floor), floor, total)


def _polish(dual: Dual, point: Vector, floor: Vector, total: float | None) -> Vector:
    """Newton's method on the multipliers that are not at their bound: SLSQP stops at about 1e-7, this at rounding error."""
    for _ in range(POLISH_STEPS):
        value, gradient = dual.value_and_gradient(point)
        # A multiplier at its bound stays there unless the gradient (less the common level that the sum allows) pulls it up.
        inside = point > floor + 1e-9
        level = gradient[inside].mean() if total is not None and inside.any() else 0.0
        free = inside | (gradient - level < -1e-10)
        if not free.any():
            break
        size = int(free.sum())
        curvature = dual.hessian(point)[np.ix_(free, free)]
        system, right = curvature + 1e-14 * np.eye(size), -gradient[free]
        if total is not None:  # Newton's step along the plane where the sum stays: one more equation, one more unknown
            system = np.block([[system, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            right = np.append(right, 0.0)
        direction = np.zeros_like(point)
        direction[free] = np.linalg.lstsq(system, right, rcond=None)[0][:size]
        falling = direction < 0
        # np.divide leaves inf where a multiplier does not fall towards a bound.
        room = np.divide(floor - point, direction, out=np.full_like(point, np.inf), where=falling)
        step = min(1.0, float(room.min()))
        while step > 1e-12 and dual.value_and_gradient(point + step * direction)[0] > value + 1e-14 * max(
            1.0, abs(value)
        ):
            step /= 2
        moved = np.maximum(point + step * direction, floor)
        if np.abs(moved - point).max() < 1e-14 * max(1.0, float(np.abs(point).max())):
            break
        point = moved
    return point
