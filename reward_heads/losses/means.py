"""From the loss of each label to the loss of an update: every objective counts by its weight, however few of its labels are known."""

import torch
from torch import Tensor


def label_counts(targets: Tensor) -> Tensor:
    """`[B, K]` targets to `[K]` numbers of known labels."""
    return (~targets.isnan()).sum(dim=0)


def mean_loss(losses: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    r"""Mean over the known labels of each objective, then weighted mean over the objectives that have any.

    $$ \ell = \sum_k v_k \bar\ell_k \Big/ \sum_k v_k $$

    over the objectives k that have a label in the batch, with $\bar\ell_k$ the mean over its known labels and $v_k$ its weight.

    Args:
        losses (`Tensor`): `[B, K]`, 0 where the label is missing.
        counts (`Tensor`): `[K]` numbers of known labels; of a larger batch of which `losses` is a part, the parts add up to its loss.
        weights (`Tensor`): `[K]`, positive.

    Returns:
        `Tensor`: a scalar; 0 (with zero gradient) if nothing is labelled.
    """
    weights = weights * (counts > 0)
    per_objective = losses.sum(dim=0) / counts.clamp(min=1)
    return (weights * per_objective).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
