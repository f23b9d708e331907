import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError


def direction(degrees, length=1.0):
    return length * torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def test_on_a_circle_it_is_the_mean_angle(merge):
    # 0, 30 and 90 degrees: 40, where the mean of the vectors points elsewhere; mean length 2.
    got = merge("karcher", [direction(0, 1), direction(30, 2), direction(90, 3)], max_iter=50, tol=1e-9)
    assert_close(got, direction(40, 2))
    linear = merge("linear", [direction(0), direction(30), direction(90)], weight=1)
    assert abs(math.degrees(math.atan2(linear[1], linear[0])) - 40) > 0.5


def test_weights_count(merge):
    assert_close(merge("karcher", [direction(0), direction(80)], weight=[3, 1], max_iter=50), direction(20))
    assert_close(merge("karcher", [direction(0), direction(80)], weight=[1, 0]), direction(0))


def test_two_are_slerp_in_the_middle(merge):
    torch.manual_seed(0)
    a, b = (v / v.norm() for v in torch.randn(2, 300))
    assert_close(merge("karcher", [a, b]), merge("slerp", [a, b], t=0.5), atol=1e-5, rtol=1e-4)


def test_the_gradient_is_zero_there(merge):
    torch.manual_seed(0)
    tensors = [torch.randn(40, dtype=torch.float64) + 2 for _ in range(4)]
    got = merge("karcher", tensors, max_iter=100, tol=1e-10)
    mean = got / got.norm()
    logs = torch.zeros(40, dtype=torch.float64)
    for t in tensors:
        unit = t / t.norm()
        cosine = mean @ unit
        logs += torch.acos(cosine) * (unit - cosine * mean) / (unit - cosine * mean).norm()
    assert logs.norm() < 1e-7
    assert_close(got.norm(), torch.stack([t.norm() for t in tensors]).mean())


def test_limits(merge):
    a = direction(10, 3)
    assert torch.equal(merge("karcher", [a]), a)
    assert_close(merge("karcher", [a, torch.zeros(2)]), a / 2)  # no direction, but a length of 0
    assert torch.equal(merge("karcher", [torch.zeros(2), torch.zeros(2)]), torch.zeros(2))


def test_refusals(merge):
    with pytest.raises(InputError, match="no single mean"):
        merge("karcher", [direction(0), direction(180)])
    with pytest.raises(InputError, match="needs a weight above 0"):
        merge("karcher", [direction(0), direction(90)], weight=0)
    with pytest.raises(InputError, match="max_iter must be finite and at least 1, found 0"):
        merge("karcher", [direction(0), direction(90)], max_iter=0)
