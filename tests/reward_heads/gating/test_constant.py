import math

import pytest
import torch
from torch.testing import assert_close

from reward_heads.bradley_terry import scale_of_differences
from reward_heads.gating import constant_weights


def test_recovers_weights_and_scale():
    d = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    p = torch.sigmoid(5 * d @ torch.tensor([0.7, 0.3, 0.0]))  # soft labels: exact but for the clamp at 0
    weights, scale = constant_weights(d, p)
    assert_close(weights, torch.tensor([0.7, 0.3, 0.0]), atol=2e-3, rtol=0)
    assert scale == pytest.approx(5.0, rel=1e-3)


def test_one_objective_is_the_bradley_terry_scale():
    generator = torch.Generator().manual_seed(1)
    d = 30 * torch.randn(300, 1, generator=generator)
    p = (torch.rand(300, generator=generator) < torch.sigmoid(d[:, 0] / 20)).float()
    weights, scale = constant_weights(d, p)
    assert weights.tolist() == [1.0]
    assert scale == pytest.approx(scale_of_differences(d, p[:, None]).scale.item(), rel=1e-3)


def test_an_objective_that_the_labels_oppose_does_not_count():
    d = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -2.0]])
    weights, scale = constant_weights(d, torch.tensor([0.8, 0.2, 0.1, 0.9]))
    assert weights.tolist() == [1.0, 0.0]
    assert scale == pytest.approx(math.log(4), rel=1e-3)


def test_where_nothing_helps_all_count_the_same_and_nothing():
    d = torch.tensor([[1.0, 2.0], [-1.0, -3.0]])
    weights, scale = constant_weights(d, torch.tensor([0.1, 0.9]))
    assert (weights.tolist(), scale) == ([0.5, 0.5], 0.0)


def test_labels_without_exception_have_a_finite_scale():
    weights, scale = constant_weights(torch.tensor([[1.0], [-2.0]]), torch.tensor([1.0, 0.0]))
    assert weights.tolist() == [1.0]
    assert 3 < scale < 1e3
