"""What every scalarizer does: a reward vector and a preference become one training signal."""

from typing import Protocol

from torch import Tensor


class Scalarizer(Protocol):
    """Anything that turns rewards and weights into one number per row, to be maximised."""

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[..., K]` rewards (NaN = not known) and `[..., K]` weights to `[...]` scalars; NaN where every reward of a row is missing."""
        ...
