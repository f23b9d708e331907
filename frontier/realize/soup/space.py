"""Say which soups a search may try: their blocks, and the values that coefficients can take."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.lattice import partitions_for, weight_lattice
from frontier.realize.soup.blocks import ALL, check_blocks
from frontier.realize.soup.soup import Soup

Array = NDArray[np.float64]
DIGITS = 3


@dataclass(frozen=True)
class SoupSpace:
    """The soups of K experts in G blocks, as vectors `[G K]` of their coefficients, block after block.

    Coefficients are rounded to 3 digits *before* a soup is evaluated, so that two soups that differ by less than it matters are one, and a stored evaluation is exactly that soup's.

    Args:
        experts (`tuple[str, ...]`): K names, at least 2.
        blocks (`tuple[str, ...]`, *optional*): G blocks, see `Soup`; by default one for the whole model.
        limits (`tuple[float, float]`, *optional*): the least and the largest coefficient, each free of the others. Without them the coefficients of a block lie on the simplex: not
            negative, of sum 1.

    Raises:
        InputError: fewer than 2 experts, wrong blocks, or limits that are not finite and in order.
    """

    experts: tuple[str, ...]
    blocks: tuple[str, ...] = (ALL,)
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "experts", tuple(self.experts))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        check_blocks(self.blocks)
        if len(self.experts) < 2:
            raise InputError(f"a soup needs at least 2 experts, found {', '.join(self.experts) or 'none'}")
        if self.limits is not None:
            low, high = self.limits
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise InputError(f"limits must be the least and the largest coefficient, found {list(self.limits)}")
            object.__setattr__(self, "limits", (float(low), float(high)))

    @property
    def size(self) -> int:
        """G K, the number of coefficients."""
        return len(self.blocks) * len(self.experts)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which every coefficient lies."""
        return (0.0, 1.0) if self.limits is None else self.limits

    def repair(self, vectors: ArrayLike) -> Array:
        """`[n, G K]` numbers to the coefficients that they stand for: inside the limits or on the simplex, and rounded."""
        rows = np.asarray(vectors, dtype=np.float64).reshape(-1, len(self.experts))
        low, high = self.bounds
        rows = np.clip(rows, low, high)
        if self.limits is None:
            total = rows.sum(axis=1, keepdims=True)
            rows = np.where(total > 0, rows / np.where(total > 0, total, 1.0), 1 / len(self.experts))
        rows = np.round(rows, DIGITS)
        if self.limits is None:
            # What rounding added or took goes to the largest, so that the sum stays 1 and nothing gets negative.
            largest = rows.argmax(axis=1)
            rows[np.arange(len(rows)), largest] += 1 - rows.sum(axis=1)
            rows = np.round(rows, DIGITS)
        return (rows + 0.0).reshape(-1, self.size)  # + 0.0: -0.0 is no other coefficient

    def soups(self, vectors: ArrayLike) -> list[Soup]:
        """The soups of `[n, G K]` coefficients."""
        shape = (len(self.blocks), len(self.experts))
        return [
            Soup(self.experts, self.blocks, tuple(map(tuple, v.reshape(shape).tolist()))) for v in self.repair(vectors)
        ]

    def alike(self, weights: ArrayLike) -> Array:
        """`[n, G K]` coefficients of `[n, K]`, the same in every block."""
        rows = np.asarray(weights, dtype=np.float64).reshape(-1, len(self.experts))
        return self.repair(np.tile(rows, (1, len(self.blocks))))

    def lattice(self, most: int) -> Array:
        """`[n, G K]`: the finest even lattice on the simplex of at most `most` (and at least K) soups, alike in every block: plain linear interpolation."""
        count = len(self.experts)
        return self.alike(weight_lattice(count, partitions_for(count, max(most, count))))

    def random(self, n: int, generator: np.random.Generator) -> Array:
        """`[n, G K]` coefficients, every block drawn by itself: evenly on the simplex, or between the limits."""
        rows = n * len(self.blocks)
        if self.limits is None:
            drawn = generator.dirichlet(np.ones(len(self.experts)), rows)
        else:
            drawn = generator.uniform(*self.limits, (rows, len(self.experts)))
        return self.repair(drawn.reshape(n, self.size))

    def vector(self, soup: Soup) -> Array:
        """`[G K]` of a soup of this space."""
        if soup.experts != self.experts or soup.blocks != self.blocks:
            raise InputError(
                f"the soup is of {_said(soup.experts, soup.blocks)}, not of {_said(self.experts, self.blocks)}"
            )
        return np.array(soup.coefficients, dtype=np.float64).reshape(-1)


def _said(experts: Sequence[str], blocks: Sequence[str]) -> str:
    return f"{', '.join(experts)} in {', '.join(blocks)}"
