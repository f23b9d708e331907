"""Put numbers on a set of reward vectors: which points are worth having, how much they cover, how well the policy obeys.

Everything is maximised, in named objective order.
"""

from frontier.measure.dominance import as_points, non_dominated
from frontier.measure.hypervolume import hypervolume, reference_point
from frontier.measure.indicators import controllability_gap, eum, mip, steering

__all__ = [
    "as_points",
    "controllability_gap",
    "eum",
    "hypervolume",
    "mip",
    "non_dominated",
    "reference_point",
    "steering",
]
