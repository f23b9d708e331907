"""Robust DPO: learn from labels of which a known share is flipped as if none were."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from moalign.training.losses.base import Loss, check_smoothing, expected_loss
from moalign.training.losses.divergence import REVERSE_KL, Divergence
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class Robust(Loss):
    r"""rDPO ([Chowdhury et al., 2024](https://huggingface.co/papers/2403.00409)): an unbiased estimate of the DPO loss under the true labels.

    $$ L(d) = \frac{-(1 - \varepsilon) \log \sigma(d) + \varepsilon \log \sigma(-d)}{1 - 2 \varepsilon} $$

    for a sure label, $p\,L(d) + (1 - p)\,L(-d)$ in general. If labels are flipped with probability $\varepsilon$, its mean is that of [`Sigmoid`]
    under the labels that were not. Falls without bound as $d \to \infty$ on a pair that is always labelled alike.

    Args:
        label_smoothing (`float`, *optional*, defaults to 0.1): $\varepsilon$ in [0, 0.5), the probability that a label is flipped.
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].

    Raises:
        InputError: `label_smoothing` is out of range.
    """

    name: ClassVar[str] = "robust"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    label_smoothing: float = 0.1
    divergence: Divergence = REVERSE_KL

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        flipped = self.label_smoothing
        kept, share = 1 - flipped, 1 - 2 * flipped
        d = scores.difference(self.divergence)
        a, b = -F.logsigmoid(d), -F.logsigmoid(-d)
        return expected_loss(scores, label, (kept * a - flipped * b) / share, (kept * b - flipped * a) / share)
