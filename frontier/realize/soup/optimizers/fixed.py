"""Soups that are fixed beforehand: the baselines that a search has to beat."""

from typing import ClassVar

import numpy as np

from frontier.realize.soup.optimizers.base import Array, SoupOptimizer


class Lattice(SoupOptimizer):
    """Linear interpolation: an even lattice of weights on the simplex, as Rewarded Soups ([Ramé et al., 2023](https://huggingface.co/papers/2306.04488)) sweep it."""

    kind: ClassVar[str] = "lattice"
    _asked = False

    def ask(self) -> Array:
        """All of it, once."""
        if self._asked:
            return np.empty((0, self.space.size))
        self._asked = True
        return self.space.lattice(self.budget)


class RandomSoups(SoupOptimizer):
    """Coefficients drawn at random, every block by itself; the experts alone come first."""

    kind: ClassVar[str] = "random"
    _asked = 0

    def ask(self) -> Array:
        """The experts, then as many draws as the budget holds."""
        self._asked += 1
        if self._asked == 1:
            return self.space.alike(np.eye(len(self.space.experts)))
        return self.space.random(self.budget, np.random.default_rng([self.seed, self._asked]))
