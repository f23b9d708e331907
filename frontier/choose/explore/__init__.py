"""Decide which weights (or soup coefficients) to evaluate or train next, and know what is left to gain.

    >>> import numpy as np
    >>> from frontier.choose.explore import GapFilling, explore
    >>> def evaluate(weights):  # [n, 2] weights to [n, 2] rewards; here a quarter of a circle
    ...     return weights / np.linalg.norm(weights, axis=1, keepdims=True)
    >>> front = explore(evaluate, GapFilling(2, epsilon=0.1), objectives=["helpful", "brief"], budget=50, progress=None)
    >>> len(front.points), front.info["exploration"]["done"]
    (10, True)

Or hold the loop yourself: `explorer.ask(n)`, `explorer.tell(weights, rewards, standard_errors)`, `explorer.bound()`, `explorer.done`; `to_json` and `explorer_from_json` put it aside.

- `GapFilling`: the largest hole between neighbours; for weights that each belong to an objective. No model, and quick.
- `ExpectedImprovement`: a Gaussian process over a table of candidates; also for soups with more ingredients than objectives, and under noise.
- `LinearSupport`: the weights where a linear utility could still gain, with a guarantee; finds the convex coverage set only.
- `NoisyImprovement`: botorch's qLogNEHVI over the same table (extra `explore`).
"""

from frontier.choose.explore.base import Bound, Explorer, Measured
from frontier.choose.explore.drive import explore
from frontier.choose.explore.gaps import GapFilling
from frontier.choose.explore.improvement import ExpectedImprovement
from frontier.choose.explore.lattice import simplex_lattice
from frontier.choose.explore.nehvi import NoisyImprovement
from frontier.choose.explore.state import explorer_from_json
from frontier.choose.explore.support import LinearSupport, corner_weights

__all__ = [
    "Bound",
    "ExpectedImprovement",
    "Explorer",
    "GapFilling",
    "LinearSupport",
    "Measured",
    "NoisyImprovement",
    "corner_weights",
    "explore",
    "explorer_from_json",
    "simplex_lattice",
]
