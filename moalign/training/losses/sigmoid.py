"""DPO: raise the odds of the better completion by what a Bradley-Terry reader of the labels would expect."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from moalign.training.losses.base import Loss, check_smoothing, expected_loss
from moalign.training.losses.divergence import REVERSE_KL, Divergence
from moalign.training.losses.pair_scores import PairScores


@dataclass(frozen=True)
class Sigmoid(Loss):
    r"""DPO ([Rafailov et al., 2023](https://huggingface.co/papers/2305.18290), eq. 7); with a margin, MODPO's default.

    $$ L = -p \log \sigma(d) - (1 - p) \log \sigma(-d) $$

    for the score difference $d$ of [`PairScores`] and the label $p$. Labels that follow Bradley-Terry with reward $r_0$ have their minimum at
    $\beta (h_a - h_b) = w_0 \Delta r_0 + \sum_{k \neq 0} w_k \Delta r_k$, the optimum of the weighted sum of all rewards.

    Args:
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].
    """

    name: ClassVar[str] = "sigmoid"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    divergence: Divergence = REVERSE_KL

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        d = scores.difference(self.divergence)
        return expected_loss(scores, label, -F.logsigmoid(d), -F.logsigmoid(-d))


@dataclass(frozen=True)
class SigmoidNorm(Loss):
    r"""DPO on averages over tokens, as in Tülu 3 ([Lambert et al., 2024](https://huggingface.co/papers/2411.15124)): [`Sigmoid`] of

    $$ d = s \Big( \frac{h_a}{|a|} - \frac{h_b}{|b|} \Big) - m $$

    so that long completions don't win by having more to give. The scale must be larger by about a length (Tülu 3 uses 5), and the optimum with a margin is
    one of averages, not MODPO's.

    Args:
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].
    """

    name: ClassVar[str] = "sigmoid_norm"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    divergence: Divergence = REVERSE_KL

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        d = scores.difference(self.divergence, per_token=True)
        return expected_loss(scores, label, -F.logsigmoid(d), -F.logsigmoid(-d))


@dataclass(frozen=True)
class ConservativeSigmoid(Loss):
    r"""cDPO ([Mitchell, 2023](https://ericmitchell.ai/cdpo.pdf)): DPO that believes a label $p$ to be wrong now and then.

    [`Sigmoid`] with the label $\varepsilon + (1 - 2 \varepsilon)\, p$: a pair stops pulling once $|d|$ reaches $\log \frac{1 - \varepsilon}{\varepsilon}$.

    Args:
        label_smoothing (`float`, *optional*, defaults to 0.1): $\varepsilon$ in [0, 0.5), the probability that a label is flipped.
        divergence (`Divergence`, *optional*, defaults to `REVERSE_KL`): see [`PairScores.difference`].

    Raises:
        InputError: `label_smoothing` is out of range.
    """

    name: ClassVar[str] = "cdpo"
    takes_margin: ClassVar[bool] = True
    needs_reference: ClassVar[bool] = True
    label_smoothing: float = 0.1
    divergence: Divergence = REVERSE_KL

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)

    def __call__(self, scores: PairScores, label: Tensor) -> Tensor:
        """`[B]` losses of B pairs and labels; see [`Loss`]."""
        kept, flipped = 1 - self.label_smoothing, self.label_smoothing
        d = scores.difference(self.divergence)
        a, b = -F.logsigmoid(d), -F.logsigmoid(-d)
        return expected_loss(scores, label, kept * a + flipped * b, kept * b + flipped * a)
