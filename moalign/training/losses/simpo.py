"""SimPO: prefer by the average log-prob itself, with a target margin and without a reference model."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from frontier.errors import InputError
from moalign.training.losses.base import Loss, expected_loss
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class SimPo(Loss):
    r"""SimPO ([Meng et al., 2024](https://huggingface.co/papers/2405.14734), eq. 6).

    $$ L(d) = -\log \sigma(d - \gamma), \qquad d = s \Big( \frac{\log \pi(a \mid x)}{|a|} - \frac{\log \pi(b \mid x)}{|b|} \Big) - m $$

    for a sure label, $p\,L(d) + (1 - p)\,L(-d)$ in general. The scale ($\beta$ of the paper, near 2) is larger than DPO's. Without a reference there
    is no KL-regularised optimum: the margin $m$ shifts what counts as equal, no more.

    Args:
        gamma (`float`, *optional*, defaults to 0.5): $\gamma \geq 0$, by how much the better one has to lead, in units of $d$.

    Raises:
        InputError: `gamma` is negative or not finite.
    """

    name: ClassVar[str] = "simpo"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = False
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < math.inf:
            raise InputError(f"gamma must be finite and not negative, found {self.gamma}")

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        d = scores.difference_without_reference()
        return expected_loss(scores, label, -F.logsigmoid(d - self.gamma), -F.logsigmoid(-d - self.gamma))
