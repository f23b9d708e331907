"""Hinge: push the better completion ahead by one nat, then leave the pair alone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moalign.training.losses.base import Loss, expected_loss
from moalign.training.losses.divergence import REVERSE_KL, Divergence
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class Hinge(Loss):
    r"""SLiC's loss on log-ratios, the hinge-norm of RSO ([Liu et al., 2023](https://huggingface.co/papers/2309.06657)); with a margin, MODPO's alternative.

    $$ L = p \max(0, 1 - d) + (1 - p) \max(0, 1 + d) $$

    for the score difference $d$ of [`PairScores`] and the label $p$.

    Args:
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].
    """

    name: ClassVar[str] = "hinge"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    divergence: Divergence = REVERSE_KL

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        d = scores.difference(self.divergence)
        return expected_loss(scores, label, torch.relu(1 - d), torch.relu(1 + d))
