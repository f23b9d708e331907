import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def with_the_tangent_step(tensors, weights):
    """The published procedure, step by step."""
    weights = torch.tensor(weights, dtype=torch.float64)
    weights = weights / weights.sum()
    rows = torch.stack([t.double().view(-1) for t in tensors])
    norms = rows.norm(dim=1)
    units = rows / norms[:, None]
    mean = weights @ units
    mean = mean / mean.norm()
    tangents = units - (units @ mean)[:, None] * mean
    step = weights @ tangents
    size = step.norm() + 1e-8
    point = mean * torch.cos(size) + step * torch.sin(size) / size
    return (point * (weights @ norms)).view(tensors[0].shape)


def test_by_hand(merge):
    # Half way in direction, mean length 3.
    got = merge("multislerp", [2 * EAST, 4 * NORTH], weight=[1, 1])
    assert_close(got, 3 * math.sqrt(0.5) * torch.ones(2))


def test_the_tangent_step_is_zero(merge):
    torch.manual_seed(0)
    tensors = [torch.randn(4, 6) for _ in range(3)]
    got = merge("multislerp", tensors, weight=[0.2, 0.5, 0.9])
    assert_close(got.double(), with_the_tangent_step(tensors, [0.2, 0.5, 0.9]), atol=1e-6, rtol=1e-5)


def test_measured_from_a_base(merge):
    torch.manual_seed(0)
    base, tensors = torch.randn(20), [torch.randn(20) for _ in range(3)]
    got = merge("multislerp", [base + t for t in tensors], base, weight=[1, 2, 3])
    assert_close(got, base + merge("multislerp", tensors, weight=[1, 2, 3]), atol=1e-5, rtol=1e-5)
    assert_close(merge("multislerp", [base, base], base, weight=[1, 2]), base)


def test_limits(merge):
    torch.manual_seed(0)
    a, b = torch.randn(20), torch.randn(20)
    assert torch.equal(merge("multislerp", [a], weight=[0.3]), a)
    assert_close(merge("multislerp", [a, b], weight=[1, 0]), a)
    assert_close(merge("multislerp", [a, b], weight=[1, 3]), merge("multislerp", [b, a], weight=[6, 2]))
    # Opposite directions of equal weight: linear, 0.5 * 1 - 0.5 * 3.
    assert_close(merge("multislerp", [EAST, -3 * EAST], weight=1), -EAST)


def test_refuses_directions_that_cancel(merge):
    third = -(EAST + NORTH)
    with pytest.raises(InputError, match="directions of the models cancel"):
        merge("multislerp", [EAST, NORTH, third], weight=[1, 1, math.sqrt(2)])
    with pytest.raises(InputError, match="can't normalise weights that sum to 0"):
        merge("multislerp", [EAST, NORTH], weight=[1, -1])
