"""APO: say of each completion, not only of their difference, whether it should become likelier."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moalign.training.losses.base import Loss, expected_loss, refuse_margin
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class ApoZero(Loss):
    r"""APO-zero ([D'Oosterlinck et al., 2024](https://huggingface.co/papers/2408.06266), eq. 7): the better one up, the other down.

    $$ L(a, b) = 1 - \sigma(s\,h_a) + \sigma(s\,h_b) $$

    if a is better, $p\,L(a, b) + (1 - p)\,L(b, a)$ in general. For completions that beat what the policy writes by itself. No margin, one scale.
    """

    name: ClassVar[str] = "apo_zero"
    takes_margin: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        scale = refuse_margin(self, scores)
        h_a, h_b = scores.log_ratios()
        up_a, up_b = torch.sigmoid(-scale * h_a), torch.sigmoid(-scale * h_b)
        down_a, down_b = torch.sigmoid(scale * h_a), torch.sigmoid(scale * h_b)
        return expected_loss(scores, label, up_a + down_b, up_b + down_a)


@dataclass(frozen=True)
class ApoDown(Loss):
    r"""APO-down ([D'Oosterlinck et al., 2024](https://huggingface.co/papers/2408.06266), eq. 8): both down, the worse one further.

    $$ L(a, b) = \sigma(s\,h_a) + 1 - \sigma(s\,(h_a - h_b)) $$

    if a is better, $p\,L(a, b) + (1 - p)\,L(b, a)$ in general. For completions that fall short of what the policy writes by itself. No margin, one scale.
    """

    name: ClassVar[str] = "apo_down"
    takes_margin: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        scale = refuse_margin(self, scores)
        h_a, h_b = scores.log_ratios()
        d = scale * (h_a - h_b)
        if_a = torch.sigmoid(scale * h_a) + torch.sigmoid(-d)
        if_b = torch.sigmoid(scale * h_b) + torch.sigmoid(d)
        return expected_loss(scores, label, if_a, if_b)
