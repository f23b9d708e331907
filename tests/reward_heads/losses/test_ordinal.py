import math

import pytest
import torch
from torch.testing import assert_close

from reward_heads.losses.binary import binary
from reward_heads.losses.ordinal import level_probabilities, ordinal

THRESHOLDS = torch.tensor([[-1.0, 0.5, 2.0], [0.0, math.inf, math.inf]], dtype=torch.float64)


def test_by_hand():
    # Thresholds 0 and log 3, score 0: P(y <= 0) = 1/2, P(y <= 1) = 3/4.
    thresholds = torch.tensor([[0.0, math.log(3)]])
    got = ordinal(torch.zeros(3, 1), torch.tensor([[0], [1], [2]]), thresholds)[:, 0]
    assert_close(got, -torch.tensor([1 / 2, 1 / 4, 1 / 4]).log())
    assert_close(level_probabilities(torch.zeros(()), thresholds[0]), torch.tensor([1 / 2, 1 / 4, 1 / 4]))


def test_levels_are_all_there_is_whatever_their_number():
    scores = torch.linspace(-6, 6, 9, dtype=torch.float64)
    for column, levels in ((0, 4), (1, 2)):
        costs = [
            ordinal(scores[:, None].expand(9, 2), torch.full((9, 2), j), THRESHOLDS)[:, column] for j in range(levels)
        ]
        probabilities = torch.stack(costs, dim=1).neg().exp()
        assert_close(probabilities.sum(1), torch.ones(9, dtype=torch.float64))
        assert_close(probabilities, level_probabilities(scores, THRESHOLDS[column, : levels - 1]))


def test_two_levels_are_flags():
    scores = torch.tensor([[0.3], [-2.0]], dtype=torch.float64)
    flags = torch.tensor([[1], [0]])
    assert_close(ordinal(scores, flags, THRESHOLDS[1:, :1]), binary(scores, flags.double()))
    assert binary(torch.tensor(math.log(3)), torch.tensor(1.0)).item() == pytest.approx(math.log(4 / 3))


def test_better_levels_want_higher_scores():
    scores = torch.zeros(4, 1, requires_grad=True)
    ordinal(scores, torch.arange(4)[:, None], THRESHOLDS[:1].float()).sum().backward()
    assert scores.grad[0] > 0 > scores.grad[3]
    assert scores.grad.diff(dim=0).lt(0).all()


def test_survives_huge_scores_and_close_thresholds():
    scores = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    thresholds = torch.tensor([[0.0, 1e-4, 1.0]], requires_grad=True)
    for level in range(4):
        costs = ordinal(scores, torch.full((2, 1), level), thresholds)
        assert costs.isfinite().all()
        costs.sum().backward()
    assert scores.grad.isfinite().all()
    assert thresholds.grad.isfinite().all()
    # The other way round, a difference of two sigmoids would be 0 and its cost infinite.
    assert ordinal(torch.tensor([[60.0]]), torch.tensor([[1]]), torch.tensor([[-1.0, 1.0]])).item() == pytest.approx(
        59 - math.log(1 - math.exp(-2)), rel=1e-6
    )
