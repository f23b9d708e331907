"""Put numbers on a set of reward vectors: which points are worth having, how much they cover, how well the policy obeys, and how sure all that is.

Everything is maximised, in named objective order.

    >>> from frontier.measure import hypervolume, hypervolume_contributions, mul, non_dominated_sort
    >>> points = [[1, 3], [2, 2], [0, 1]]
    >>> hypervolume(points, [0, 0]), hypervolume_contributions(points, [0, 0]).tolist()
    (5.0, [1.0, 2.0, 0.0])
    >>> non_dominated_sort(points).tolist()
    [0, 0, 1]
    >>> mul([[2, 2]], [[1, 3], [2, 2]])  # what a user loses at most who has only the second point
    1.0

`frontier.measure.uncertainty` gives intervals, tests and certificates over prompts; `hypervolume_batch` differentiates.
"""

from typing import TYPE_CHECKING, Any

from frontier.measure.approximate import ApproximateHypervolume, approximate_hypervolume
from frontier.measure.contributions import hypervolume_contributions
from frontier.measure.dispersion import crd
from frontier.measure.distance import epsilon_additive, epsilon_multiplicative, igd_plus
from frontier.measure.dominance import as_points, dominates, non_dominated, non_dominated_sort
from frontier.measure.hypervolume import hypervolume, reference_point
from frontier.measure.indicators import controllability_gap, eum, mip
from frontier.measure.lattice import weight_lattice
from frontier.measure.r2 import r2, r2_exact
from frontier.measure.reference import reference_hint
from frontier.measure.spread import spacing, sparsity, spread
from frontier.measure.steering import monotonicity, steering, trade_off_correlation
from frontier.measure.utility_loss import UtilityLoss, largest_loss, mul

if TYPE_CHECKING:
    from frontier.measure.batched import hypervolume_batch

__all__ = [
    "ApproximateHypervolume",
    "UtilityLoss",
    "approximate_hypervolume",
    "as_points",
    "controllability_gap",
    "crd",
    "dominates",
    "epsilon_additive",
    "epsilon_multiplicative",
    "eum",
    "hypervolume",
    "hypervolume_batch",
    "hypervolume_contributions",
    "igd_plus",
    "largest_loss",
    "mip",
    "monotonicity",
    "mul",
    "non_dominated",
    "non_dominated_sort",
    "r2",
    "r2_exact",
    "reference_hint",
    "reference_point",
    "spacing",
    "sparsity",
    "spread",
    "steering",
    "trade_off_correlation",
    "weight_lattice",
]


def __getattr__(name: str) -> Any:
    if name == "hypervolume_batch":  # it needs torch, which takes seconds to import
        from frontier.measure.batched import hypervolume_batch

        return hypervolume_batch
    raise AttributeError(f"module 'frontier.measure' has no attribute '{name}'")
