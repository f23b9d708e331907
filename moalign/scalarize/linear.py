"""Linear scalarization: the weighted sum, with missing objectives left out and the others' weights scaled up."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    r"""Weighted sum of the known rewards.

    $$ s(r \mid w) = \frac{\sum_k |w_k|}{\sum_{k \in P} |w_k|} \sum_{k \in P} w_k r_k $$

    where $P$ are the objectives whose reward is known in the row. With all of them known it is $w^\top r$; with some missing, the weights of the present
    ones are scaled up so that a row does not lose signal only because a judge was silent. A row whose present objectives have no weight gets 0, a row with
    nothing known gets NaN (the learner leaves it out).
    """

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[..., K]` rewards and `[..., K]` weights to `[...]` scalars."""
        known = ~rewards.isnan()
        total = weights.abs().sum(-1)
        present = (weights.abs() * known).sum(-1)
        scale = torch.where(
            present > 0, total / present.clamp(min=torch.finfo(rewards.dtype).tiny), torch.zeros_like(total)
        )
        value = scale * (weights * rewards.nan_to_num()).sum(-1)
        return value.masked_fill(~known.any(-1), torch.nan)
