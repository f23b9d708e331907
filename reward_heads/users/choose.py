r"""Decide how many groups there are by how well pairs that were held out are predicted, and by no more groups than that proves.

Users are independent, a user's pairs are not; so standard errors are clustered: with $S_h$ the sum over the $m_h$ held-out pairs of user $h$ and mean
$\bar s = \sum S_h / \sum m_h$, $\mathrm{se}^2 = \frac{H}{H-1} \sum_h (S_h - m_h \bar s)^2 / (\sum_h m_h)^2$.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Likelihood:
    """Held-out log-likelihood with so many groups, in nats per pair.

    Args:
        groups (`int`): how many were asked for.
        left (`int`): how many were not dropped.
        mean (`float`): per held-out pair; log(1/2) = −0.693 is a coin.
        standard_error (`float`): of the mean, clustered by user.
        behind (`float`): the best number's mean minus this one's; 0 for the best, which is one that lost no group.
        behind_error (`float`): standard error of that difference, clustered by user; the pairs are the same, so it is much smaller than that of the means.
    """

    groups: int
    left: int
    mean: float
    standard_error: float
    behind: float
    behind_error: float


def likelihood_table(
    per_pair: Mapping[int, Tensor], left: Mapping[int, int], user_of: Tensor
) -> tuple[Likelihood, ...]:
    """One row per number of groups, smallest first.

    Args:
        per_pair (`Mapping[int, Tensor]`): number of groups to `[n]` held-out log-likelihoods of the same n pairs.
        left (`Mapping[int, int]`): number of groups to how many were not dropped.
        user_of (`Tensor`): `[n]`, the pairs' users.
    """
    # A run that lost groups is one with fewer groups, which has a row of its own.
    whole = [count for count in per_pair if left[count] == count] or list(per_pair)
    best = per_pair[max(whole, key=lambda count: (float(per_pair[count].mean()), -count))]
    rows = []
    for count, values in sorted(per_pair.items()):
        mean, error = clustered_mean(values, user_of)
        behind, behind_error = clustered_mean(best - values, user_of)
        rows.append(Likelihood(count, left[count], mean, error, behind, behind_error))
    return tuple(rows)


def clustered_mean(values: Tensor, user_of: Tensor) -> tuple[float, float]:
    """Mean of `[n]` values and its standard error, clustered by user; the error is inf with a single user."""
    users, cluster = user_of.unique(return_inverse=True)
    mean = values.mean()
    sums = torch.zeros(len(users), dtype=values.dtype).index_add_(0, cluster, values - mean)
    if len(users) < 2:
        return float(mean), math.inf
    return float(mean), float((len(users) / (len(users) - 1) * sums.square().sum()).sqrt() / len(values))


def choose_number(table: Sequence[Likelihood], standard_errors: float = 1.0) -> int:
    """The fewest groups that are behind the best number by at most so many standard errors of the difference, of the runs that lost none (if there are)."""
    whole = [row for row in table if row.left == row.groups] or table
    return next(row.groups for row in whole if row.behind <= 0 or row.behind <= standard_errors * row.behind_error)
