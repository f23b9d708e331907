"""Flags: the score is the log-odds of a yes, so its sign is the verdict."""

import torch.nn.functional as F
from torch import Tensor


def binary(scores: Tensor, flags: Tensor) -> Tensor:
    r"""Bernoulli's cost, $-\big[ f \log \sigma(s) + (1 - f) \log \sigma(-s) \big] = \mathrm{softplus}(s) - f s$: Bradley-Terry against a completion that scores 0.

    This is the sign-aware part of Safe-RLHF's cost model with the sign turned, see `reward_heads.cost`.

    Args:
        scores (`Tensor`): any shape.
        flags (`Tensor`): the same shape, 1 = yes (safe), 0 = no, or a probability.
    """
    return F.softplus(scores) - flags * scores
