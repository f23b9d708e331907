"""BCO: classify completions as wanted or not, each by itself."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from moalign.training.losses.base import Loss, expected_loss, refuse_margin
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class BcoPair(Loss):
    r"""BCO on pairs ([Jung et al., 2024](https://huggingface.co/papers/2404.04656)), without the paper's running mean of rewards, as in TRL's pair form.

    $$ L(a, b) = -\log \sigma(s\,h_a) - \log \sigma(-s\,h_b) $$

    if a is better, $p\,L(a, b) + (1 - p)\,L(b, a)$ in general. No margin, one scale.
    """

    name: ClassVar[str] = "bco_pair"
    takes_margin: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        scale = refuse_margin(self, scores)
        a, b = (scale * h for h in scores.log_ratios())
        return expected_loss(scores, label, -F.logsigmoid(a) - F.logsigmoid(-b), -F.logsigmoid(b) - F.logsigmoid(-a))
