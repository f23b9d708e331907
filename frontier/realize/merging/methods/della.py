"""Drop what each model learned at random, small changes more often than large ones, and add what agrees in sign."""

from dataclasses import dataclass

from frontier.realize.merging.methods.base import setting
from frontier.realize.merging.methods.della_linear import DellaLinear, DellaLinearParameters


@dataclass(frozen=True)
class DellaParameters(DellaLinearParameters):
    """Settings of `della`: those of `della_linear`, with `normalize` on by default."""

    normalize: bool = setting(True, kind=bool)


class Della(DellaLinear):
    r"""DELLA ([Deep et al., 2024](https://huggingface.co/papers/2406.11617)): drop, elect, fuse; as mergekit's `della`.

    Deltas are dropped by rank and rescaled as in `della_linear`; then the sign of $\sum_i w_i d_i$ is elected entry by entry (0 elects plus), entries of
    that sign are added up, and the sum is divided by their weights (`normalize`, on by default).
    """

    name = "della"
    elects = True
    Parameters = DellaParameters
