"""Linear support: measure next where the best linear utility could still grow most, and say by how much at most."""

from typing import Any, ClassVar

import numpy as np

from frontier.choose.explore.base import Array, Bound, Explorer, at_least_0, key
from frontier.errors import InputError

# Of the largest range of a reward: the programmes are solved to some digits only, less than that is no gain ...
SOLVED = 1e-8
# ... so that a reward of a smaller range than this would not count at all.
WIDEST = 1e5


class LinearSupport(Explorer):
    r"""Optimistic linear support ([Roijers, Whiteson & Oliehoek, 2015](https://doi.org/10.1613/jair.4550)). Every objective is maximised.

    What the measured points give to a user with linear utility, $V(w) = \max_i w^\top r_i$, is convex and piecewise linear. An unknown optimum can improve it most at a corner of V (a *corner
    weight*), by at most

    $$ \Delta(w) = \max_{v} \{ w^\top v : w_j^\top v \le V(w_j) \text{ for every measured } w_j \} - V(w). $$

    The corner with the largest $\Delta$ is asked next; when none is left above epsilon, no user with a linear utility can gain more than that. It starts with the vertices of the simplex.

    It finds the convex coverage set only: points in a concave part of the front are best for no linear utility and are never found (use `GapFilling` or `ExpectedImprovement` there). And
    $\Delta$ is a guarantee only where evaluating w returns a policy that maximises $w^\top r$; a policy held back by a KL penalty, or trained badly, may leave more. It is computed to 1e-8 of
    the largest range of a reward; what is less counts as 0.

    Under noise, an improvement counts only by what exceeds `confidence` standard errors of $w^\top r$ of the point that is best at w.

    Args:
        n_weights (`int`): K: each weight belongs to one objective.
        n_objectives (`int`, *optional*): the same number.
        epsilon (`float`, *optional*, defaults to 0.01): done when no corner can gain more, in units of $w^\top r$.
        confidence (`float`, *optional*, defaults to 2.0): standard errors that an improvement must exceed.
        seed (`int`, *optional*, defaults to 0): unused: nothing is random.

    Raises:
        InputError: another number of objectives than of weights; later, where the ranges of the told rewards differ by a factor of more than 100,000.

    Example:
        >>> support = LinearSupport(2)
        >>> support.tell([[1, 0], [0, 1]], [[4, 0], [0, 2]], unasked=True)
        >>> support.ask().round(4).tolist()  # where 4 w = 2 (1 - w)
        [[0.3333, 0.6667]]
        >>> round(support.bound().value, 4)  # (4, 2) is still possible there: 8/3 against 4/3
        1.3333
    """

    kind: ClassVar[str] = "support"

    def __init__(
        self,
        n_weights: int,
        n_objectives: int | None = None,
        *,
        epsilon: float = 0.01,
        confidence: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__(n_weights, n_objectives, epsilon=epsilon, seed=seed)
        if self.n_objectives != self.n_weights:
            raise InputError(
                f"linear support needs one weight for each objective, found {self.n_weights} weights and "
                f"{self.n_objectives} objectives: for soups of other ingredients use ExpectedImprovement"
            )
        self.confidence = at_least_0("confidence", confidence)

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"confidence": self.confidence}

    def _propose(self, n: int) -> list[Array]:
        taken = self._taken()
        asked = [row for row in np.eye(self.n_weights) if key(row) not in taken][:n]
        if not self._started():
            return asked
        corners, gains = self._corners()
        for i in np.argsort(-gains, kind="stable"):
            if len(asked) < n and gains[i] > self.epsilon and key(corners[i]) not in taken:
                asked.append(corners[i])
        return asked

    def _bound(self) -> Bound:
        what = (
            "the most that the best linear utility w·r can still grow at any weights, beyond what the standard errors explain; a guarantee where evaluating w maximises w·r. "
            "Of the convex coverage set only: concave parts of the front are not looked for"
        )
        left = float(self._corners()[1].max(initial=0.0)) if self._started() else np.inf
        return Bound(left, "linear utility w·r", what)

    def _started(self) -> bool:
        known = {key(w) for w in self.measured.weights}
        return all(key(row) in known for row in np.eye(self.n_weights))

    def _corners(self) -> tuple[Array, Array]:
        """Corner weights `[c, K]` and what the utility can still gain at each `[c]`; made once for each state."""
        if "corners" not in self._memo:
            known = self.measured
            unit, size = _centred(known.rewards)
            corners = corner_weights(unit)
            scores = corners @ unit.T
            best = scores.argmax(axis=1)
            possible = np.array([_largest_utility(w, known.weights, unit) for w in corners])
            doubt = np.sqrt((corners**2 * known.errors[best] ** 2).sum(axis=1))
            gains = (possible - scores.max(axis=1)) * size - self.confidence * doubt
            self._memo["corners"] = corners, np.where(gains > SOLVED * size, gains, 0.0)
        found: tuple[Array, Array] = self._memo["corners"]
        return found


def corner_weights(rewards: Array) -> Array:
    r"""The corners of $V(w) = \max_i w^\top r_i$ over the simplex, its vertices among them.

    Args:
        rewards (`Array`): `[n, K]`, maximised.

    Returns:
        `Array`: `[c, K]` weights, from weight 0 of the first to weight 1.

    Example:
        >>> corner_weights(np.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
        [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    from scipy.spatial import HalfspaceIntersection

    count = rewards.shape[1]
    scale = float(np.ptp(rewards, axis=0).max()) or 1.0
    unit = np.unique((rewards - rewards.mean(axis=0)) / scale, axis=0)
    ceiling = float(unit.max()) + 2.0
    free = count - 1  # the last weight is what is left to 1
    # Each row a·x + b <= 0 over x = (w_1 .. w_{K-1}, V): V lies above every point's utility, and w on the simplex.
    above = np.column_stack([unit[:, :free] - unit[:, free:], -np.ones(len(unit)), unit[:, free]])
    positive = np.column_stack([-np.eye(free), np.zeros(free), np.zeros(free)])
    last = np.array([[*np.ones(free), 0.0, -1.0], [*np.zeros(free), 1.0, -ceiling]])
    inside = np.array([*np.full(free, 1 / count), ceiling - 1.0])
    found = HalfspaceIntersection(np.vstack([above, positive, last]), inside).intersections
    found = found[np.isfinite(found).all(axis=1) & (found[:, free] < ceiling - 1e-6)][:, :free]
    weights = np.column_stack([found, 1 - found.sum(axis=1)])
    weights = np.where(np.abs(weights) < 1e-9, 0.0, weights).clip(0.0, 1.0)
    # Round to what counts as the same weight: where many pieces meet, a corner is found several times.
    return np.unique(np.round(weights / weights.sum(axis=1, keepdims=True), 9) + 0.0, axis=0)


def _centred(rewards: Array) -> tuple[Array, float]:
    """Rewards about 0 in units of their largest range, and that range: weights sum to 1, so what is taken off every point changes no gain."""
    low, high = rewards.min(axis=0), rewards.max(axis=0)
    ranges = high - low
    size = float(ranges.max()) or 1.0
    # What is rounding of the largest reward is no range.
    varied = ranges[ranges > 1e-12 * np.abs(rewards).max()]
    if len(varied) and size > WIDEST * varied.min():
        raise InputError(
            f"the ranges of the measured rewards are {', '.join(f'{r:.3g}' for r in ranges)}: the largest must be at most {WIDEST:g} times the smallest, "
            "or gains in the smallest are lost in rounding; normalise the rewards first"
        )
    return (rewards - (low / 2 + high / 2)) / size, size


def _largest_utility(at: Array, weights: Array, rewards: Array) -> float:
    """The largest w·v of any v that no measured weights rule out."""
    from scipy.optimize import linprog

    limits = (weights @ rewards.T).max(axis=1)
    found = linprog(-at, A_ub=weights, b_ub=limits, bounds=(None, None), method="highs")
    return -float(found.fun)
