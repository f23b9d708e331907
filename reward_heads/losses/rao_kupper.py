"""Rao-Kupper: annotators call a tie where the difference is below a threshold, and the threshold is learned from how often they do."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reward_heads.losses.outcomes import Outcomes


def rao_kupper(differences: Tensor, log_threshold: Tensor, margins: Tensor | float = 0.0) -> Outcomes:
    r"""What each outcome costs ([Rao & Kupper, 1967](https://doi.org/10.1080/01621459.1967.10482901)), with $\pi = e^{s}$ and the threshold $\theta \ge 1$.

    $$ P(a) = \frac{\pi_a}{\pi_a + \theta \pi_b} = \sigma(\Delta - \log\theta), \qquad P(b) = \sigma(-\Delta - \log\theta), $$
    $$ P(tie) = \frac{(\theta^2 - 1)\,\pi_a \pi_b}{(\pi_a + \theta \pi_b)(\pi_b + \theta \pi_a)} = (\theta^2 - 1)\,\sigma(\Delta - \log\theta)\,\sigma(-\Delta - \log\theta) $$

    It is the cumulative-link model of `reward_heads.losses.ordinal` for the three ordered outcomes b, tie, a, with thresholds $\mp\log\theta$. At $\theta = 1$ it is Bradley-Terry:
    no tie has a probability, and the label 0.5 is a mixture there. A margin m > 0 is taken from Δ before a win is judged, not before a tie is.

    Args:
        differences (`Tensor`): Δ `[..., K]`, score of a minus score of b, in nats.
        log_threshold (`Tensor`): `[K]`, $\log\theta \ge 0$.
        margins (`Tensor` or `float`, *optional*, defaults to 0): m >= 0, in nats.
    """
    first = F.softplus(log_threshold + margins - differences)
    second = F.softplus(log_threshold + margins + differences)
    no_ties = log_threshold <= 0
    width = log_threshold.masked_fill(no_ties, 1.0)
    log_mass = 2 * width + torch.log(-torch.expm1(-2 * width))  # log(θ² − 1), whatever the size of θ
    tie = F.softplus(width - differences) + F.softplus(width + differences) - log_mass
    return Outcomes(first, second, ((first + second) / 2).where(no_ties, tie))
