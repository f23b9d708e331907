"""NSGA-II over soup coefficients: a population that is crossed, mutated and sorted by dominance and crowding."""

from typing import Any, ClassVar

import numpy as np

from frontier.realize.soup.optimizers.base import WHOLE, Array, SoupOptimizer
from frontier.realize.soup.space import SoupSpace


class NSGA2Soups(SoupOptimizer):
    """NSGA-II ([Deb et al., 2002](https://doi.org/10.1109/4235.996017)) by pymoo, starting from linear interpolation. It needs no model of the rewards, so noise and many blocks do not mislead one.

    Over several blocks the first third of the budget is the search over the whole model, and its population the first one of the search over blocks.

    Children that are no soups (off the simplex, outside the limits) are repaired as `SoupSpace.repair` does it. pymoo minimises: rewards are negated here and nowhere else.
    """

    kind: ClassVar[str] = "nsga2"

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        super().__init__(space, n_objectives, budget, seed)
        self._told = 0
        self._whole: SoupSpace | None = None
        if len(space.blocks) > 1:
            self._whole = SoupSpace(space.experts, limits=space.limits)
        self._algorithm = self._set_up(self._whole or space, self.starting()[:, : len(space.experts)])
        self._asked: Any = None

    def _set_up(self, space: SoupSpace, start: Array) -> Any:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.core.repair import Repair
        from pymoo.core.termination import NoTermination

        class Repaired(Repair):
            """Back into the space."""

            def _do(self, problem: Any, X: Any, **kwargs: Any) -> Any:
                return space.repair(X)

        # About eight generations, of at least four soups an expert.
        size = int(np.clip(self.budget // 8, 4 * len(space.experts), 40))
        algorithm = NSGA2(pop_size=max(size, 4), sampling=start, repair=Repaired(), eliminate_duplicates=True)
        low, high = space.bounds
        problem = Problem(n_var=space.size, n_obj=self.n_objectives, xl=low, xu=high)
        algorithm.setup(problem, termination=NoTermination(), seed=self.seed, verbose=False)
        return algorithm

    def ask(self) -> Array:
        """The next generation."""
        if self._whole is not None and self._told >= WHOLE * self.budget:
            self._divide()
        self._asked = self._algorithm.ask()
        if self._whole is not None and not self._some():
            self._divide()
            self._asked = self._algorithm.ask()
        if not self._some():
            return np.empty((0, self.space.size))
        found = self._asked.get("X")
        return self.space.repair(found) if self._whole is None else self.space.alike(found)

    def tell(self, vectors: Array, rewards: Array, errors: Array) -> None:
        """Select the survivors."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        self._told += len(vectors)
        Evaluator().eval(StaticProblem(self._algorithm.problem, F=-rewards), self._asked)
        self._algorithm.tell(infills=self._asked)

    def _some(self) -> bool:
        return self._asked is not None and len(self._asked) > 0

    def _divide(self) -> None:
        """From the whole model to blocks: the population stays, each of it alike in every block. It is asked again, which costs nothing."""
        self._algorithm = self._set_up(self.space, self.space.alike(self._algorithm.pop.get("X")))
        self._whole = None
