"""The one protocol of every optimizer over soups: ask for coefficients, tell what they gave."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError
from frontier.measure.rows import whole_number
from frontier.realize.soup.space import SoupSpace

Array = NDArray[np.float64]
# The share of the budget that a search over blocks gives to the whole model first: it learns where the front is, on which blocks then improve.
WHOLE = 1 / 3


class SoupOptimizer(ABC):
    """Chooses the next soups to evaluate. Every objective is maximised.

    What is asked depends only on the arguments and on what was told, so that a search that is run again over stored evaluations asks the same.

    Args:
        space (`SoupSpace`): the soups that may be asked.
        n_objectives (`int`): K' rewards, at least 2.
        budget (`int`): how many soups will be evaluated in all.
        seed (`int`): of whatever is random.

    Raises:
        InputError: a count is out of range.
    """

    kind: ClassVar[str]

    def __init__(self, space: SoupSpace, n_objectives: int, budget: int, seed: int = 0) -> None:
        self.space = space
        self.n_objectives = whole_number(n_objectives, "n_objectives", 2)
        self.budget = whole_number(budget, "budget", 1)
        self.seed = whole_number(seed, "seed", 0)
        if budget < len(space.experts):
            raise InputError(f"the budget must allow at least one soup an expert, {len(space.experts)}; found {budget}")

    @abstractmethod
    def ask(self) -> Array:
        """`[n, G K]` coefficients to evaluate next, also such as were asked before; none when there is nothing left."""

    def tell(self, vectors: Array, rewards: Array, errors: Array) -> None:  # noqa: B027 - what is fixed beforehand learns nothing
        """Report all that was asked last.

        Args:
            vectors (`Array`): `[n, G K]`, as asked.
            rewards (`Array`): `[n, K']`, maximised.
            errors (`Array`): `[n, K']` standard errors, NaN where they are not known.
        """

    def starting(self) -> Array:
        """`[n, G K]`: where a search begins: a coarse lattice of linear interpolation, on a quarter of the budget, alike in every block.

        So a search over blocks knows what a search over the whole model would first learn.
        """
        least = len(self.space.experts)
        return self.space.lattice(max(least, 2 * least + 1 if self.budget < 40 else self.budget // 4))[: self.budget]
