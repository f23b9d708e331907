"""NCA: keep the better completion from becoming less likely while the difference grows."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from moalign.training.losses.base import Loss, expected_loss, refuse_margin
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class NcaPair(Loss):
    r"""NCA on pairs ([Chen et al., 2024](https://huggingface.co/papers/2402.05369)).

    $$ L(a, b) = -\log \sigma(s\,h_a) - \tfrac{1}{2} \log \sigma(-s\,h_a) - \tfrac{1}{2} \log \sigma(-s\,h_b) $$

    if a is better, $p\,L(a, b) + (1 - p)\,L(b, a)$ in general. No margin, one scale.
    """

    name: ClassVar[str] = "nca_pair"
    takes_margin: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        scale = refuse_margin(self, scores)
        h_a, h_b = scores.log_ratios()
        both_down = -(F.logsigmoid(-scale * h_a) + F.logsigmoid(-scale * h_b)) / 2
        return expected_loss(
            scores, label, both_down - F.logsigmoid(scale * h_a), both_down - F.logsigmoid(scale * h_b)
        )
