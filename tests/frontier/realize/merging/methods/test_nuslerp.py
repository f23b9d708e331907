import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError


def test_by_hand(merge):
    # A right angle, weights 1 : 3: t = 3/4 of 90 degrees; lengths 2 and 1 stay where they are.
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    expected = torch.tensor([2 * math.cos(math.radians(67.5)), math.sin(math.radians(67.5))])
    assert_close(merge("nuslerp", [a, b], weight=[1.0, 3.0]), expected)
    assert_close(merge("nuslerp", [a + 5, b + 5], torch.full((2,), 5.0), weight=[1.0, 3.0]), expected + 5)


def test_is_slerp_with_the_share_as_place(merge, models):
    (a, b, _), _ = models
    assert_close(merge("nuslerp", [a, b], weight=[0.6, 0.2]), merge("slerp", [a, b], t=0.25))


def test_by_row_and_by_column(merge, models):
    (a, b, _), base = models
    rows = torch.stack([merge("nuslerp", [a[i], b[i]], base[i], weight=[1, 2]) for i in range(len(a))])
    assert_close(merge("nuslerp", [a, b], base, weight=[1, 2], nuslerp_flatten=False), rows)
    columns = merge("nuslerp", [a.T, b.T], base.T, weight=[1, 2], nuslerp_flatten=False).T
    assert_close(merge("nuslerp", [a, b], base, weight=[1, 2], nuslerp_flatten=False, nuslerp_row_wise=True), columns)


def test_parallel_opposite_and_cancelling_weights(merge):
    a = torch.tensor([1.0, 2.0])
    assert_close(merge("nuslerp", [a, 3 * a], weight=[1, 1]), 2 * a)
    assert_close(merge("nuslerp", [a, -a], weight=[3, 1]), 0.5 * a)
    right = torch.tensor([-2.0, 1.0])
    assert_close(merge("nuslerp", [a, right], weight=[1, -1]), merge("nuslerp", [a, right], weight=[1, 1]))


def test_a_small_angle_is_not_lost(merge):
    torch.manual_seed(0)
    a = torch.randn(1000, dtype=torch.float64)
    b = a + 1e-5 * torch.randn(1000, dtype=torch.float64)
    exact = merge("nuslerp", [a, b], weight=[0.3, 0.7])
    got = merge("nuslerp", [a.float(), b.float()], weight=[0.3, 0.7])
    assert_close(got, exact.float(), atol=1e-6, rtol=0)


def test_two_models(merge, models):
    with pytest.raises(InputError, match="exactly 2 models, found 3"):
        merge("nuslerp", models[0], weight=[1, 1, 1])
