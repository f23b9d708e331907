r"""The two default losses in one call: Bradley-Terry on pairs, squared error on ratings, nothing where a label is missing.

For a pair with target $p$ = probability that a is better, and $\Delta = s_a - s_b$ ([Bradley & Terry, 1952](https://doi.org/10.2307/2334029)):

$$ \ell = -\big[ p \log \sigma(\Delta) + (1 - p) \log \sigma(-\Delta) \big] = \mathrm{softplus}(\Delta) - p \Delta $$

For a rating with standardised target $t$: $\ell = (s - t)^2$.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reward_heads.losses.squared import squared


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
    compared = F.softplus(predictions) - targets * predictions
    return torch.where(is_pair[:, None], compared, squared(predictions, targets)).masked_fill(missing, 0.0)
