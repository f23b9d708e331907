import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def test_by_hand(merge):
    # A third of a right angle.
    got = merge("slerp", [EAST, NORTH], t=1 / 3)
    assert_close(got, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))
    # Lengths go along: sin 45° / sin 90° of each.
    assert_close(merge("slerp", [2 * EAST, 4 * NORTH], t=0.5), math.sqrt(0.5) * torch.tensor([2.0, 4.0]))


def test_a_base_is_the_start(merge):
    assert_close(merge("slerp", [NORTH], EAST, t=0.2), merge("slerp", [EAST, NORTH], t=0.2))


def test_limits(merge):
    torch.manual_seed(0)
    a, b = torch.randn(5, 5), torch.randn(5, 5)
    assert torch.equal(merge("slerp", [a, b], t=0), a)
    assert torch.equal(merge("slerp", [a, b], t=1), b)
    assert_close(merge("slerp", [a, b], t=0.3), merge("slerp", [b, a], t=0.7))
    # Nearly parallel, opposite, or without a direction: a line.
    assert_close(merge("slerp", [a, 3 * a], t=0.5), 2 * a)
    assert_close(merge("slerp", [a, -a], t=0.25), 0.5 * a)
    assert_close(merge("slerp", [a, torch.zeros(5, 5)], t=0.25), 0.75 * a)


def test_on_the_unit_sphere_it_stays_there(merge):
    torch.manual_seed(0)
    a, b = (v / v.norm() for v in torch.randn(2, 100))
    for t in (0.1, 0.5, 0.8):
        got = merge("slerp", [a, b], t=t)
        assert_close(got.norm(), torch.tensor(1.0))
        assert_close(torch.acos(got @ a), t * torch.acos(a @ b))


def test_refuses_other_than_two(merge):
    with pytest.raises(InputError, match="found 2 models and a base"):
        merge("slerp", [EAST, NORTH], EAST, t=0.5)
    with pytest.raises(InputError, match="found 1 model without a base"):
        merge("slerp", [EAST], t=0.5)
    with pytest.raises(InputError, match="'t' is missing"):
        merge("slerp", [EAST, NORTH])
    with pytest.raises(InputError, match=r"t must be between 0 and 1, found 1\.5"):
        merge("slerp", [EAST, NORTH], t=1.5)
