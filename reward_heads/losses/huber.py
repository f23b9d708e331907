"""Huber: squared error that a few wild ratings can't dominate."""

import torch.nn.functional as F
from torch import Tensor


def huber(scores: Tensor, ratings: Tensor, delta: float = 1.0) -> Tensor:
    r"""Squared error up to $\delta$, linear beyond ([Huber, 1964](https://doi.org/10.1214/aoms/1177703732)); e = s − t in standard deviations of the ratings.

    $$ \ell = e^2 \text{ if } |e| \le \delta, \qquad 2\delta |e| - \delta^2 \text{ otherwise} $$

    Twice Huber's own, so that it is [`squared`] where errors are small.

    Args:
        scores (`Tensor`): any shape.
        ratings (`Tensor`): the same shape, standardised.
        delta (`float`, *optional*, defaults to 1): > 0, in standard deviations.
    """
    return 2 * F.huber_loss(scores, ratings, reduction="none", delta=delta)
