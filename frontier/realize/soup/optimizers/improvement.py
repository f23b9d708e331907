"""Expected hypervolume improvement over soups: a Gaussian process from coefficients to rewards says which soups to try."""

from typing import ClassVar

import numpy as np

from frontier.choose.explore import ExpectedImprovement, NoisyImprovement
from frontier.choose.explore.base import Key, key
from frontier.choose.explore.candidates import CandidateExplorer
from frontier.measure.dominance import non_dominated
from frontier.realize.soup.optimizers.base import WHOLE, Array, SoupOptimizer
from frontier.realize.soup.optimizers.deviations import Deviations
from frontier.realize.soup.space import SoupSpace

CANDIDATES = 600
# Standard deviations of the steps from soups of the front, and how much of the vector takes a step.
STEPS, SHARES = (0.03, 0.08, 0.2), (0.3, 1.0)


class ExpectedImprovementSoups(SoupOptimizer):
    r"""Exact expected hypervolume improvement (`frontier.choose.explore.ExpectedImprovement`) over candidates that are drawn anew for every batch.

    A table fixed beforehand would be empty almost everywhere in many dimensions. So the candidates are: soups alike in every block; steps from the soups of the present front; and mixtures of
    these. What is drawn depends on the seed and on how much was told.

    Over several blocks the coefficients are $c_{b,k} = g_k + d_{b,k}$ with $\sum_b d_{b,k} = 0$, as G blocks of K experts are too many dimensions to cover a front in. The first third of the
    budget is the search over the whole model, d = 0. From then on g goes on as that search would, into the gaps and beyond the ends of the front, told what soups without deviations would have
    given; and each soup takes the deviations d, among none, those of the front's soups nearby, and small steps from them, one block at a time, of which most hypervolume is expected
    (`Deviations`). So it covers what the search over the whole model covers, and gains where blocks differ.
    """

    kind: ClassVar[str] = "improvement"
    explorer: ClassVar[type[CandidateExplorer]] = ExpectedImprovement

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        super().__init__(space, n_objectives, budget, seed)
        self.batch = int(np.clip(budget // 16, 1, 8))
        self._told: list[tuple[Array, Array, Array]] = []
        self._whole: ExpectedImprovementSoups | None = None
        if len(space.blocks) > 1:
            self._whole = type(self)(SoupSpace(space.experts, limits=space.limits), n_objectives, budget, seed)
        self._asked_whole: Array | None = None

    def ask(self) -> Array:
        """A batch, chosen one by one, each as if those before it had given what the model expects."""
        self._asked_whole = None
        if self._whole is not None and sum(len(v) for v, _, _ in self._told) < WHOLE * self.budget:
            self._asked_whole = self._whole.ask()
            if len(self._asked_whole):
                return self.space.alike(self._asked_whole)
        if not self._told:
            return self.starting()
        vectors, rewards, errors = (np.concatenate(rows) for rows in zip(*self._told, strict=True))
        generator = np.random.default_rng([self.seed, len(vectors)])
        seen = {key(v) for v in vectors}
        if self._whole is None:
            asked = self._places(vectors, rewards, errors if np.isfinite(errors).all() else None, generator, seen)
            return self.space.repair(asked)
        known = Deviations(self.space, vectors, rewards, np.where(np.isfinite(errors), errors, 0.0))
        asked = self._places(known.means, known.alike_rewards, known.alike_errors, generator, seen)
        if len(asked) == 0:
            return asked.reshape(-1, self.space.size)
        return known.choose(asked, vectors[non_dominated(rewards)], seen, generator)

    def _places(
        self, weights: Array, rewards: Array, errors: Array | None, generator: np.random.Generator, seen: set[Key]
    ) -> Array:
        """`[n, K]` weights of the whole model that promise most, after `[m, K]` that were measured."""
        drawn = np.unique(self._drawn(weights, rewards, generator), axis=0)
        new = [key(row) not in seen for row in self.space.alike(drawn)]
        table = drawn[new]
        if len(table) < 2:
            return table
        explorer = self.explorer(
            len(self.space.experts), self.n_objectives, candidates=table, start=2, epsilon=0.0, seed=self.seed
        )
        explorer.tell(weights, rewards, errors, unasked=True)
        return np.array(explorer._propose(self.batch)).reshape(-1, len(self.space.experts))

    def tell(self, vectors: Array, rewards: Array, errors: Array) -> None:
        """Remember."""
        self._told.append((vectors, rewards, errors))
        if self._whole is not None and self._asked_whole is not None:
            self._whole.tell(self._asked_whole, rewards, errors)

    def _drawn(self, weights: Array, rewards: Array, generator: np.random.Generator) -> Array:
        """`[n, K]` candidates for the whole model, after `[m, K]` that were measured."""
        front = weights[non_dominated(rewards)]
        third, experts = CANDIDATES // 3, len(self.space.experts)
        whole = SoupSpace(self.space.experts, limits=self.space.limits)
        even = whole.random(third, generator)
        parents = front[generator.integers(len(front), size=(third, 2))]
        low, high = self.space.bounds
        step = generator.choice(STEPS, (third, 1)) * (high - low) * generator.standard_normal((third, experts))
        moved = parents[:, 0] + step * (generator.random((third, experts)) < generator.choice(SHARES, (third, 1)))
        mixed = parents[:, 0] + generator.uniform(-0.3, 1.3, (third, 1)) * (parents[:, 1] - parents[:, 0])
        return np.concatenate([even, whole.repair(moved), whole.repair(mixed)])


class NoisyImprovementSoups(ExpectedImprovementSoups):
    """The same with botorch's qLogNEHVI ([Ament et al., 2023](https://huggingface.co/papers/2310.20708)) as what is maximised; it needs `pip install 'moalign[explore]'`."""

    kind: ClassVar[str] = "nehvi"
    explorer: ClassVar[type[CandidateExplorer]] = NoisyImprovement

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        super().__init__(space, n_objectives, budget, seed)
        self.explorer(2, epsilon=0.0)  # says at once that botorch is missing
