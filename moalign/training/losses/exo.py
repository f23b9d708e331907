"""EXO: match the label's distribution by the reverse KL divergence, which prefers one mode well to all modes badly."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from moalign.training.losses.base import Loss, check_smoothing, known_label
from moalign.training.losses.divergence import REVERSE_KL, Divergence
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class ExoPair(Loss):
    r"""EXO on pairs ([Ji et al., 2024](https://huggingface.co/papers/2402.00856), eq. 16).

    $$ L = \sigma(d) \log \frac{\sigma(d)}{q} + \sigma(-d) \log \frac{\sigma(-d)}{1 - q}, \qquad q = \varepsilon + (1 - 2 \varepsilon)\, p $$

    for the score difference $d$ of [`PairScores`] and the label $p$: the divergence of the policy's choice from the label's, 0 at $d = \log
    \frac{q}{1 - q}$. A soft label is the distribution to match, as rewards are in the paper; the mean of the losses of drawn labels (which
    [`Sigmoid`] takes) would have its minimum at $(2p - 1) \log \frac{1 - \varepsilon}{\varepsilon}$, far too sure.

    Args:
        label_smoothing (`float`, *optional*, defaults to 0.001): $\varepsilon$ in (0, 0.5); a sure label has no finite divergence.
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): between policy and reference; see [`PairScores.difference`].

    Raises:
        InputError: `label_smoothing` is out of range.
    """

    name: ClassVar[str] = "exo_pair"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    label_smoothing: float = 1e-3
    divergence: Divergence = REVERSE_KL

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing, zero=False)

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        p, unknown = known_label(scores, label)
        d = scores.difference(self.divergence)
        q_a = self.label_smoothing + (1 - 2 * self.label_smoothing) * p
        q_b = self.label_smoothing + (1 - 2 * self.label_smoothing) * (1 - p)
        loss_a = torch.sigmoid(d) * (F.logsigmoid(d) - q_a.log())
        loss_b = torch.sigmoid(-d) * (F.logsigmoid(-d) - q_b.log())
        return (loss_a + loss_b).masked_fill(unknown, math.nan)
