"""Davidson: a tie is an outcome of its own, likeliest between equals, with a propensity that is learned from how often ties occur."""

import torch
from torch import Tensor

from reward_heads.losses.outcomes import Outcomes


def davidson(differences: Tensor, log_propensity: Tensor, margins: Tensor | float = 0.0) -> Outcomes:
    r"""What each outcome costs ([Davidson, 1970](https://doi.org/10.1080/01621459.1970.10481082)), with $\pi = e^{s}$ and the propensity $\nu \ge 0$.

    $$ P(a) = \frac{\pi_a}{\pi_a + \pi_b + \nu\sqrt{\pi_a \pi_b}}, \qquad P(tie) = \frac{\nu\sqrt{\pi_a \pi_b}}{\pi_a + \pi_b + \nu\sqrt{\pi_a \pi_b}} $$

    Divided by $\sqrt{\pi_a \pi_b}$, the three weights are $e^{\Delta/2}$, $e^{-\Delta/2}$ and $\nu$. Unlike Rao-Kupper's, the odds of a against b stay $e^{\Delta}$ whatever the ties
    (Luce's axiom). At $\nu = 0$ it is Bradley-Terry, and the label 0.5 is a mixture there. A margin m > 0 is taken from Δ before a win is judged, not before a tie is.

    Args:
        differences (`Tensor`): Δ `[..., K]`, score of a minus score of b, in nats.
        log_propensity (`Tensor`): `[K]`, $\log\nu$; minus infinity where there are no ties.
        margins (`Tensor` or `float`, *optional*, defaults to 0): m >= 0, in nats.
    """

    def log_total(half: Tensor) -> Tensor:
        return torch.logaddexp(torch.logaddexp(half, -half), log_propensity)

    won, lost = (differences - margins) / 2, (differences + margins) / 2
    first, second = log_total(won) - won, log_total(lost) + lost
    no_ties = log_propensity.isneginf()
    tie = log_total(differences / 2) - log_propensity.masked_fill(no_ties, 0.0)
    return Outcomes(first, second, ((first + second) / 2).where(no_ties, tie))
