"""IPO: move the log-ratios to a finite distance, where DPO on sure labels would never stop."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from moalign.training.losses.base import Loss, expected_loss
from moalign.training.losses.divergence import REVERSE_KL, Divergence
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class Ipo(Loss):
    r"""IPO ([Azar et al., 2023](https://huggingface.co/papers/2310.12036), eq. 17), a least-squares fit.

    $$ L(d) = \Big( \frac{d - 1/2}{s} \Big)^2 = \Big( h_a - h_b - \frac{1/2 + m}{s} \Big)^2 $$

    for a sure label, $p\,L(d) + (1 - p)\,L(-d)$ in general, where $d$, scale $s$ (the paper's $\tau$) and margin $m$ are those of [`PairScores`].
    The minimum is at $d = p - 1/2$; with MODPO's scale and margin that is $\beta (h_a - h_b) = w_0 (p - 1/2) + \sum_{k \neq 0} w_k \Delta r_k$,
    finite and with a finite gradient as $w_0 \to 0$. The margin is in units of probability here, not in nats.

    Args:
        per_token (`bool`, *optional*, defaults to `True`): fit averages over tokens, as the paper's authors did and TRL does; `False` fits sums,
            which the formula of the paper and MODPO's optimum are about.
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].
    """

    name: ClassVar[str] = "ipo"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    per_token: bool = True
    divergence: Divergence = REVERSE_KL

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        d = scores.difference(self.divergence, per_token=self.per_token)
        return expected_loss(scores, label, ((d - 0.5) / scores.scale) ** 2, ((d + 0.5) / scores.scale) ** 2)
