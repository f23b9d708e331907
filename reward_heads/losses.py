r"""The training loss of reward heads: Bradley-Terry on pairs, squared error on ratings, nothing where a label is missing.

For a pair with target $p$ = probability that a is better, and $\Delta = s_a - s_b$ ([Bradley & Terry, 1952](https://doi.org/10.2307/2334029)):

$$ \ell = -\big[ p \log \sigma(\Delta) + (1 - p) \log \sigma(-\Delta) \big] = \mathrm{softplus}(\Delta) - p \Delta $$

For a rating with standardised target $t$: $\ell = (s - t)^2$. The loss is $\sum_k v_k \bar\ell_k / \sum_k v_k$ over the objectives $k$ that have a
label in the batch, with $\bar\ell_k$ the mean over its known labels and $v_k$ its weight.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def element_losses(predictions: Tensor, targets: Tensor, is_pair: Tensor) -> Tensor:
    """The loss of each label.

    Args:
        predictions (`Tensor`): `[B, K]`, score differences (a minus b) in rows of pairs, scores in rows of ratings.
        targets (`Tensor`): `[B, K]`, probabilities that a is better, or standardised ratings; NaN = missing.
        is_pair (`Tensor`): `[B]` bool.

    Returns:
        `Tensor`: `[B, K]`; exactly 0, with exactly zero gradient, where the label is missing.
    """
    missing = targets.isnan()
    # Both sides are replaced before the loss: masking a NaN afterwards would leave 0 · NaN = NaN in the gradient.
    predictions = predictions.masked_fill(missing, 0.0)
    targets = targets.masked_fill(missing, 0.0)
    bradley_terry = F.softplus(predictions) - targets * predictions
    squared_error = (predictions - targets).square()
    return torch.where(is_pair[:, None], bradley_terry, squared_error).masked_fill(missing, 0.0)


def label_counts(targets: Tensor) -> Tensor:
    """`[B, K]` targets to `[K]` numbers of known labels."""
    return (~targets.isnan()).sum(dim=0)


def mean_loss(losses: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
    """Mean over the known labels of each objective, then weighted mean over the objectives that have any.

    Args:
        losses (`Tensor`): `[B, K]` from [`element_losses`].
        counts (`Tensor`): `[K]` numbers of known labels; of a larger batch of which `losses` is a part, the parts add up to its loss.
        weights (`Tensor`): `[K]`, positive.

    Returns:
        `Tensor`: a scalar; 0 (with zero gradient) if nothing is labelled.
    """
    weights = weights * (counts > 0)
    per_objective = losses.sum(dim=0) / counts.clamp(min=1)
    return (weights * per_objective).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
