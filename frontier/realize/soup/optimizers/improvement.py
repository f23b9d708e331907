"""Expected hypervolume improvement over soups: a Gaussian process from coefficients to rewards says which soups to try."""

from typing import ClassVar

import numpy as np

from frontier.choose.explore import ExpectedImprovement, NoisyImprovement
from frontier.choose.explore.base import key
from frontier.choose.explore.candidates import CandidateExplorer
from frontier.measure.dominance import non_dominated
from frontier.realize.soup.optimizers.base import Array, SoupOptimizer
from frontier.realize.soup.space import DIGITS, SoupSpace

CANDIDATES = 600
# Standard deviations of the steps from soups of the front, and how much of the vector takes a step.
STEPS, SHARES = (0.03, 0.08, 0.2), (0.3, 1.0)


class ExpectedImprovementSoups(SoupOptimizer):
    """Exact expected hypervolume improvement (`frontier.choose.explore.ExpectedImprovement`) over candidates that are drawn anew for every batch.

    A table fixed beforehand would be empty almost everywhere in many dimensions. So the candidates are: soups alike in every block; steps from the soups of the present front; and pairs of these,
    either mixed or with blocks of the one and blocks of the other. What is drawn depends on the seed and on how much was told.
    """

    kind: ClassVar[str] = "improvement"
    explorer: ClassVar[type[CandidateExplorer]] = ExpectedImprovement

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        super().__init__(space, n_objectives, budget, seed)
        self.batch = int(np.clip(budget // 16, 1, 8))
        self._told: list[tuple[Array, Array, Array]] = []

    def ask(self) -> Array:
        """A batch, chosen one by one, each as if those before it had given what the model expects."""
        if not self._told:
            return self.starting()
        vectors, rewards, errors = (np.concatenate(rows) for rows in zip(*self._told, strict=True))
        seen = {key(v) for v in vectors}
        drawn = np.unique(self._drawn(vectors, rewards), axis=0)
        table = np.array([v for v in drawn if key(v) not in seen])
        if len(table) < 2:
            return table.reshape(-1, self.space.size)
        # Distances as between soups of one block, which the priors of the length scales are made for.
        scale = np.sqrt(len(self.space.blocks))
        explorer = self.explorer(
            self.space.size, self.n_objectives, candidates=table / scale, start=2, epsilon=0.0, seed=self.seed
        )
        known = np.isfinite(errors).all()
        explorer.tell(vectors / scale, rewards, errors if known else None, unasked=True)
        asked = np.array(explorer._propose(self.batch)).reshape(-1, self.space.size)
        return np.round(asked * scale, DIGITS) + 0.0

    def tell(self, vectors: Array, rewards: Array, errors: Array) -> None:
        """Remember."""
        self._told.append((vectors, rewards, errors))

    def _drawn(self, vectors: Array, rewards: Array) -> Array:
        """`[n, G K]` candidates."""
        generator = np.random.default_rng([self.seed, len(vectors)])
        front = vectors[non_dominated(rewards)]
        third = CANDIDATES // 3
        blocks, experts = len(self.space.blocks), len(self.space.experts)
        even = SoupSpace(self.space.experts, limits=self.space.limits).random(third, generator)
        parents = front[generator.integers(len(front), size=(third, 2))]
        low, high = self.space.bounds
        step = generator.choice(STEPS, (third, 1)) * (high - low) * generator.standard_normal((third, self.space.size))
        moved = parents[:, 0] + step * (
            generator.random((third, self.space.size)) < generator.choice(SHARES, (third, 1))
        )
        part = generator.uniform(-0.3, 1.3, (third, 1, 1))
        part = np.where(generator.random((third, 1, 1)) < 0.5, part, generator.integers(0, 2, (third, blocks, 1)))
        one, other = (parents[::-1, i].reshape(third, blocks, experts) for i in range(2))
        crossed = (one + part * (other - one)).reshape(third, self.space.size)
        return np.concatenate([self.space.alike(even), self.space.repair(moved), self.space.repair(crossed)])


class NoisyImprovementSoups(ExpectedImprovementSoups):
    """The same with botorch's qLogNEHVI ([Ament et al., 2023](https://huggingface.co/papers/2310.20708)) as what is maximised; it needs `pip install 'moalign[explore]'`."""

    kind: ClassVar[str] = "nehvi"
    explorer: ClassVar[type[CandidateExplorer]] = NoisyImprovement

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        super().__init__(space, n_objectives, budget, seed)
        self.explorer(2, epsilon=0.0)  # says at once that botorch is missing
