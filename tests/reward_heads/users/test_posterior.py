"""What a posterior says: intervals, predictions, refusals."""

import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import UserPosterior
from reward_heads.users.posterior import check_answers

TWO = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)


def test_hand_computed():
    known = UserPosterior(("a", "b"), TWO, 3)
    assert known.mean.tolist() == [0.5, 0.5]
    assert known.std.tolist() == [0.5, 0.5]
    assert known.weights == {"a": 0.5, "b": 0.5}
    # One draw likes the pair by 1 nat, the other dislikes it by 2.
    assert_close(known.prefers(torch.tensor([[1.0, -2.0]])).item(), (1 / (1 + math.e**-1) + 1 / (1 + math.e**2)) / 2)
    assert known.prefers(torch.empty(0, 2)).shape == (0,)
    assert "after 3 pairs" in known.table()


def test_tastes_predict_where_they_differ_from_what_is_reported():
    known = UserPosterior(("a", "b"), TWO, 0, tastes=3 * TWO, exact_mean=torch.tensor([0.4, 0.6]))
    assert_close(known.margins(torch.tensor([[1.0, -2.0]])), torch.tensor([[3.0], [-6.0]], dtype=torch.float64))
    assert_close(known.mean, torch.tensor([0.4, 0.6]))


def test_the_interval_is_central():
    samples = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None]
    assert_close(UserPosterior(("a",), samples, 1).interval(0.9), torch.tensor([[0.05, 0.95]], dtype=torch.float64))


def test_refuses():
    with pytest.raises(InputError, match=r"samples must be \[S, 2\]"):
        UserPosterior(("a", "b"), TWO[:, :1], 0)
    with pytest.raises(InputError, match="tastes must be"):
        UserPosterior(("a", "b"), TWO, 0, tastes=TWO[:1])
    with pytest.raises(InputError, match="samples must be finite"):
        UserPosterior(("a", "b"), TWO * math.nan, 0)
    with pytest.raises(InputError, match="found -1"):
        UserPosterior(("a", "b"), TWO, -1)
    known = UserPosterior(("a", "b"), TWO, 0)
    with pytest.raises(InputError, match="level must be between 0 and 1, found 90"):
        known.interval(90)
    with pytest.raises(InputError, match=r"\[M, 2\], a column for each of a, b, found \[1, 3\]"):
        known.prefers(torch.zeros(1, 3))
    with pytest.raises(InputError, match="difference 0 of component 'b' is nan"):
        known.prefers(torch.tensor([[0.0, math.nan]]))


def test_answers_are_checked_and_missing_ones_left_out():
    x, p = check_answers(torch.eye(2), torch.tensor([math.nan, 0.5]), ("a", "b"))
    assert x.tolist() == [[0.0, 1.0]]
    assert p.tolist() == [0.5]
    with pytest.raises(InputError, match=r"probability in \[0, 1\] that a is better, found 2"):
        check_answers(torch.eye(2), torch.tensor([0.0, 2.0]), ("a", "b"))
    with pytest.raises(InputError, match=r"labels must be \[2\]"):
        check_answers(torch.eye(2), torch.zeros(3), ("a", "b"))
