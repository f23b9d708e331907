"""SPPO: move each completion's log-ratio to what its chance of winning is worth."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from moalign.training.losses.base import Loss, expected_loss, refuse_margin
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class SppoHard(Loss):
    r"""SPPO on a pair ([Wu et al., 2024](https://huggingface.co/papers/2405.00675), eq. 4.7), $\eta = 1 / s$.

    $$ L(a, b) = \Big( h_a - \frac{1}{2s} \Big)^2 + \Big( h_b + \frac{1}{2s} \Big)^2 $$

    if a is better, $p\,L(a, b) + (1 - p)\,L(b, a)$ in general, which is the paper's soft form, $\big( h_a - (p - \frac{1}{2}) / s \big)^2 + \big(
    h_b + (p - \frac{1}{2}) / s \big)^2$, up to a constant. No margin, one scale.
    """

    name: ClassVar[str] = "sppo_hard"
    takes_margin: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        target = 0.5 / refuse_margin(self, scores)
        h_a, h_b = scores.log_ratios()
        return expected_loss(
            scores, label, (h_a - target) ** 2 + (h_b + target) ** 2, (h_b - target) ** 2 + (h_a + target) ** 2
        )
