"""What the strategies with a model share: a finite table of candidates, a start that spreads over it, and a bound from joint draws."""

import math
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.choose.explore.base import Array, Bound, Explorer, growth, key
from frontier.choose.explore.boxes import undominated_boxes
from frontier.choose.explore.lattice import simplex_lattice
from frontier.choose.explore.surrogate import Surrogate
from frontier.errors import InputError
from frontier.measure.dominance import as_points
from frontier.measure.hypervolume import hypervolume, reference_point
from frontier.measure.lattice import partitions_for
from frontier.measure.rows import whole_number

Rows = NDArray[np.int64]
MOST_CANDIDATES = 5_000
# Of the candidates and of the draws that the bound is taken over.
PROMISING, DRAWS = 256, 32


class CandidateExplorer(Explorer):
    """An explorer that chooses among a finite table of weights or coefficients.

    Args:
        n_weights, n_objectives, epsilon, repeats, seed: of `Explorer`.
        candidates (`ArrayLike` or `int`, *optional*): `[C, M]` weights or coefficients of any sign and sum, at most 5,000; or a number of partitions of the simplex. By default the finest
            lattice of at most 500.
        start (`int`, *optional*): how many candidates to measure before the model is asked; 2M + 1 when not given.

    Raises:
        InputError: the candidates are no table, come twice, or are too many; or `start` is no whole number of at least 2.
    """

    def __init__(
        self,
        n_weights: int,
        n_objectives: int | None = None,
        *,
        candidates: ArrayLike | int | None = None,
        start: int | None = None,
        epsilon: float = 0.01,
        repeats: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(n_weights, n_objectives, epsilon=epsilon, repeats=repeats, seed=seed)
        if candidates is None or isinstance(candidates, Integral):
            partitions = (
                partitions_for(self.n_weights, 500) if candidates is None else whole_number(candidates, "candidates", 1)
            )
            self.partitions: int | None = partitions
            table = simplex_lattice(self.n_weights, partitions)
        else:
            self.partitions = None
            table = as_points(candidates, "candidates", self.n_weights)
        if not 2 <= len(table) <= MOST_CANDIDATES:
            raise InputError(f"candidates must be 2 to {MOST_CANDIDATES:,}, found {len(table):,}")
        self.candidates = table
        self._place = {key(row): i for i, row in enumerate(table)}
        if len(self._place) < len(table):
            raise InputError(f"candidates must differ, found {len(table) - len(self._place)} that come twice")
        self.start = min(len(table), 2 * self.n_weights + 1 if start is None else whole_number(start, "start", 2))

    def _settings(self) -> dict[str, Any]:
        table = self.candidates.tolist() if self.partitions is None else self.partitions
        return super()._settings() | {"repeats": self.repeats, "candidates": table, "start": self.start}

    def _check_weights(self, weights: Array) -> None:
        if self.partitions is not None:
            super()._check_weights(weights)

    def _propose(self, n: int) -> list[Array]:
        taken = self._taken()
        free = np.array([i for i, row in enumerate(self.candidates) if key(row) not in taken], dtype=np.int64)
        if len(free) == 0:
            return []
        places = [*self.measured.weights, *self._pending.values()]
        missing = self.start - len(places)
        if missing > 0 or len(self.measured.weights) < 2:
            return self._spread(free, places, min(n, max(missing, 0)))
        return [self.candidates[i] for i in self._improving(free, n)]

    def _exhausted(self) -> bool:
        taken = self._taken()
        return all(name in taken for name in self._place)

    def predict(self, weights: ArrayLike) -> tuple[Array, Array]:
        """`[n, K]` rewards that the model expects at any weights, and their standard deviations: the front between what was measured.

        Raises:
            InputError: fewer than two weights were told.
        """
        rows = as_points(weights, "weights", self.n_weights)
        if len(self.measured.weights) < 2:
            raise InputError(f"a prediction needs at least 2 measured weights, found {len(self.measured.weights)}")
        return Surrogate(self.measured, rows, self._surrogate().kernels).rewards()

    def _improving(self, free: Rows, n: int) -> list[int]:
        """Rows of the candidates to measure next, chosen with the model."""
        raise NotImplementedError

    def _spread(self, free: Rows, places: list[Array], n: int) -> list[Array]:
        """Candidates far from all that was measured: the extremes of the table first, then its emptiest places."""
        chosen: list[Array] = []
        middle = self.candidates.mean(axis=0)
        left = self.candidates[free]
        reach = np.linalg.norm(left - middle, axis=1)
        for _ in range(min(n, len(left))):
            seen = np.array([*places, *chosen]).reshape(-1, self.n_weights)
            apart = np.linalg.norm(left[:, None] - seen[None], axis=2)
            score = apart.min(axis=1) if len(seen) else reach
            best = np.flatnonzero(score >= score.max() - 1e-9)
            chosen.append(left[int(best[np.argmax(reach[best])])])
        return chosen

    def _surrogate(self) -> Surrogate:
        """The model of what was told; made once for each state."""
        if "surrogate" not in self._memo:
            self._memo["surrogate"] = Surrogate(self.measured, self.candidates)
        surrogate: Surrogate = self._memo["surrogate"]
        return Surrogate(self.measured, self.candidates, surrogate.kernels)

    def _front(self, surrogate: Surrogate) -> Array:
        """`[n, K]` what the measured weights give: as told where that is exact, else the model's mean, which shares the noise among neighbours."""
        known = self.measured
        return np.where(known.errors > 0, surrogate.measured_mean, known.rewards)

    def _bound(self) -> Bound:
        known = self.measured
        what = (
            "expected growth of the hypervolume if every candidate were measured, by joint draws of the model at the "
            f"{PROMISING} most promising; an expectation under the model, not a guarantee"
        )
        if len(known.weights) < max(2, self.start):
            return Bound(math.inf, "share of the hypervolume", what)
        surrogate = self._surrogate()
        front = self._front(surrogate)
        place = reference_point(known.rewards)
        now = hypervolume(front, place)
        seen = self._used()
        rows = np.array([i for i, row in enumerate(self.candidates) if key(row) not in seen], dtype=np.int64)
        if len(rows) == 0:
            return Bound(0.0, "share of the hypervolume", what)
        mean, deviation = surrogate.rewards()
        gain = undominated_boxes(front, place).expected_improvement(mean[rows], deviation[rows])
        rows = rows[np.argsort(-gain, kind="stable")[:PROMISING]]
        drawn = surrogate.draw(rows, DRAWS, np.random.default_rng([self.seed, len(self._told)]))
        reached = np.mean([hypervolume(np.vstack([front, values]), place) for values in drawn])
        return Bound(growth(float(reached), now), "share of the hypervolume", what)
