"""Ways to choose the next soups: one file each."""

from frontier.errors import unknown_name
from frontier.realize.soup.optimizers.base import SoupOptimizer
from frontier.realize.soup.optimizers.fixed import Lattice, RandomSoups
from frontier.realize.soup.optimizers.improvement import ExpectedImprovementSoups, NoisyImprovementSoups
from frontier.realize.soup.optimizers.nsga2 import NSGA2Soups
from frontier.realize.soup.space import SoupSpace

OPTIMIZERS: dict[str, type[SoupOptimizer]] = {
    made.kind: made for made in (NSGA2Soups, NoisyImprovementSoups, ExpectedImprovementSoups, RandomSoups, Lattice)
}


def make_optimizer(kind: str, space: SoupSpace, n_objectives: int, budget: int, seed: int) -> SoupOptimizer:
    """The optimizer of a name.

    Raises:
        InputError: an unknown name, or what it needs is not installed.
    """
    if kind not in OPTIMIZERS:
        raise unknown_name("optimizer", kind, OPTIMIZERS)
    return OPTIMIZERS[kind](space, n_objectives, budget, seed)


__all__ = [
    "OPTIMIZERS",
    "ExpectedImprovementSoups",
    "Lattice",
    "NSGA2Soups",
    "NoisyImprovementSoups",
    "RandomSoups",
    "SoupOptimizer",
    "make_optimizer",
]
