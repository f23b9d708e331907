"""NSGA-II over soup coefficients: a population that is crossed, mutated and sorted by dominance and crowding."""

from typing import Any, ClassVar

import numpy as np

from frontier.realize.soup.optimizers.base import Array, SoupOptimizer
from frontier.realize.soup.space import SoupSpace


class NSGA2Soups(SoupOptimizer):
    """NSGA-II ([Deb et al., 2002](https://doi.org/10.1109/4235.996017)) by pymoo, starting from linear interpolation. It needs no model of the rewards, so noise and many blocks do not mislead one.

    Children that are no soups (off the simplex, outside the limits) are repaired as `SoupSpace.repair` does it. pymoo minimises: rewards are negated here and nowhere else.
    """

    kind: ClassVar[str] = "nsga2"

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        super().__init__(space, n_objectives, budget, seed)
        self._algorithm = self._set_up()
        self._asked: Any = None

    def _set_up(self) -> Any:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.core.repair import Repair
        from pymoo.core.termination import NoTermination

        space, start = self.space, self.starting()

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
        self._asked = self._algorithm.ask()
        if self._asked is None or len(self._asked) == 0:
            return np.empty((0, self.space.size))
        return self.space.repair(self._asked.get("X"))

    def tell(self, vectors: Array, rewards: Array, errors: Array) -> None:
        """Select the survivors."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        Evaluator().eval(StaticProblem(self._algorithm.problem, F=-rewards), self._asked)
        self._algorithm.tell(infills=self._asked)
