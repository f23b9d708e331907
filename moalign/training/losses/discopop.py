"""DiscoPOP: a blend of the logistic and the exponential loss that a search over programmes found."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from frontier.errors import InputError
from moalign.training.losses.base import Loss, expected_loss
from moalign.training.losses.divergence import REVERSE_KL, Divergence
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class DiscoPop(Loss):
    r"""DiscoPOP ([Lu et al., 2024](https://huggingface.co/papers/2406.08414), eq. 5).

    $$ L(d) = -\sigma(-d / \tau) \log \sigma(d) + \sigma(d / \tau)\, e^{-d} $$

    for a sure label, $p\,L(d) + (1 - p)\,L(-d)$ in general, with the score difference $d$ of [`PairScores`]. Logistic where a trails, exponential
    where it leads; neither convex nor monotone, with a local minimum near $d = -0.12$ by default.

    Args:
        tau (`float`, *optional*, defaults to 0.05): $\tau > 0$, how sharply the two are told apart. Above 1 the exponential also rules far below 0, where it
            is held constant past $e^{40}$.
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].

    Raises:
        InputError: `tau` is not positive and finite.
    """

    name: ClassVar[str] = "discopop"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    tau: float = 0.05
    divergence: Divergence = REVERSE_KL

    def __post_init__(self) -> None:
        if not 0 < self.tau < float("inf"):
            raise InputError(f"tau must be positive and finite, found {self.tau}")

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        d = scores.difference(self.divergence)
        return expected_loss(scores, label, self._if_better(d), self._if_better(-d))

    def _if_better(self, d: Tensor) -> Tensor:
        # One exponent for both factors: apart, they are 0 and infinity, whose product is NaN.
        exponential = (F.logsigmoid(d / self.tau) - d).clamp(max=40).exp()
        return exponential - torch.sigmoid(-d / self.tau) * F.logsigmoid(d)
