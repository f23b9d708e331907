"""Pairs for the tests of the losses: some with round numbers, some drawn by hypothesis."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from moalign.training.losses import LOSSES, AlphaDivergence, ForwardKL, JensenShannon, PairScores, find_loss
from moalign.training.losses.base import Loss


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pairs(h_a, h_b, scale=1.0, margin=None, length_a=None, length_b=None) -> PairScores:
    """Pairs with these log-ratios: the reference gives each completion exp(-8)."""
    h_a, h_b = torch.as_tensor(h_a, dtype=torch.float64), torch.as_tensor(h_b, dtype=torch.float64)
    reference = torch.full_like(h_a, -8.0)
    return PairScores(
        policy_a=h_a + reference,
        policy_b=h_b + reference,
        reference_a=reference,
        reference_b=reference.clone(),
        length_a=torch.ones_like(h_a) if length_a is None else length_a,
        length_b=torch.ones_like(h_a) if length_b is None else length_b,
        scale=scale,
        margin=margin,
    )


def value(loss: Loss, scores: PairScores, *label: float) -> list[float]:
    return loss(scores, tensor(*label)).tolist()


EVERY = [
    *(find_loss(name) for name in LOSSES),
    find_loss("ipo", per_token=False),
    *(find_loss("sigmoid", divergence=d) for d in (ForwardKL(), JensenShannon(), AlphaDivergence(0.3))),
    find_loss("exo_pair", divergence=JensenShannon(), label_smoothing=0.1),
]
OF_A_DIFFERENCE = [loss for loss in EVERY if loss.takes_margin]
OF_LEVELS = [loss for loss in EVERY if not loss.takes_margin]


def identity(loss: Loss) -> str:
    return repr(loss)


@st.composite
def batches(draw, loss: Loss):
    """`(PairScores, label)` of three pairs, with margins and a scale per row where the loss takes them."""
    # A seed and a size instead of 24 numbers: ten times as fast, and the losses have no corners but 0 and infinity.
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.sampled_from([0.0, 0.1, 1.0, 20.0]))

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(3, generator=random, dtype=torch.float64)

    scores = PairScores(
        policy_a=uniform(-size, 0),
        policy_b=uniform(-size, 0),
        reference_a=uniform(-size, 0),
        reference_b=uniform(-size, 0),
        length_a=uniform(1, 9).round(),
        length_b=uniform(1, 9).round(),
        scale=uniform(0.1, 2) if loss.takes_margin else 0.1 + 2 * draw(st.floats(0, 1)),
        margin=uniform(-3, 3) if loss.takes_margin else None,
    )
    return scores, uniform(0, 1)
