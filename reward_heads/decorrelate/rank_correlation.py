"""Measure how far one number follows the order of another: Spearman's rank correlation, exact with ties, fast enough for a root search."""

import math

from torch import Tensor

from frontier.errors import InputError


def ranks(values: Tensor) -> Tensor:
    """`[N]` numbers to `[N]` float64 ranks from 1; equal numbers share the mean of their ranks."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]


def spearman(values: Tensor, against: Tensor) -> float:
    r"""Spearman's rank correlation ([1904](https://doi.org/10.2307/1412159)): Pearson's correlation of the ranks, in [-1, 1].

    0 where one of them is constant: it has no order that could follow the other's.

    Args:
        values (`Tensor`): `[N]`; NaN = not known, such rows are left out.
        against (`Tensor`): `[N]`, likewise.

    Raises:
        InputError: shapes differ.

    Example:
        >>> import torch
        >>> spearman(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 40.0, 20.0, 30.0]))  # 1 − 6 · (0 + 4 + 1 + 1) / (4 · 15)
        0.4
    """
    if values.dim() != 1 or values.shape != against.shape:
        raise InputError(f"both must be [N], found {list(values.shape)} and {list(against.shape)}")
    known = ~(values.isnan() | against.isnan())
    return _correlation(ranks(values[known]), _centred_ranks(against[known]))


class RankCorrelation:
    """Spearman's correlation with numbers that stay the same, for many tries of the other side.

    Args:
        against (`Tensor`): `[N]`, all known.
    """

    def __init__(self, against: Tensor) -> None:
        self._centred = _centred_ranks(against)

    def __call__(self, values: Tensor) -> float:
        """The correlation of `[N]` numbers, all known, with `against`."""
        return _correlation(ranks(values), self._centred)


def standard_error(n: int) -> float:
    """Of Spearman's correlation of `n` independent rows where there is none; inf below 2 rows."""
    return 1 / math.sqrt(n - 1) if n > 1 else math.inf


def _centred_ranks(values: Tensor) -> Tensor:
    found = ranks(values)
    return found - found.mean() if len(found) else found


def _correlation(found: Tensor, centred: Tensor) -> float:
    if not len(found):
        return 0.0
    found = found - found.mean()
    scale = float((found @ found) * (centred @ centred))
    # Rounded, because the sums' last digit depends on how the processor orders them.
    return round(float(found @ centred) / math.sqrt(scale), 12) if scale > 0 else 0.0
