import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.methods.win_rates import mean_and_error, win_rates

NAN = math.nan


def test_hand_computed():
    policy = torch.tensor([[[1.0], [3.0]], [[0.0], [0.0]]])  # two prompts, two answers, one reward
    reference = torch.tensor([[[2.0], [0.0]], [[0.0], [5.0]]])
    # First prompt: 1 beats only 0, 3 beats both: 3 of 4. Second: two ties, two losses: 1 of 4.
    rate, error = win_rates(policy, reference)
    assert_close(rate, torch.tensor([0.5], dtype=torch.float64))
    assert_close(error, torch.tensor([0.25], dtype=torch.float64))  # 0.5 / sqrt(2) spread, by sqrt(2)


def test_against_itself_it_is_a_half_and_the_two_sides_add_up_to_one():
    answers = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    others = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))
    assert_close(win_rates(answers, answers)[0], torch.full((3,), 0.5, dtype=torch.float64))
    assert_close(win_rates(answers, others)[0] + win_rates(others, answers)[0], torch.ones(3, dtype=torch.float64))


def test_what_is_not_known_takes_no_part():
    policy = torch.tensor([[[1.0, NAN], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    rate, error = win_rates(policy, torch.zeros(2, 1, 2))
    assert rate[0] == 1.0  # one answer of the first prompt
    assert rate[1].isnan()
    assert error.isnan().all()  # of a single prompt


def test_mean_and_error_of_known_prompts():
    mean, error = mean_and_error(torch.tensor([[1.0], [3.0], [NAN]], dtype=torch.float64))
    assert_close(mean, torch.tensor([2.0], dtype=torch.float64))
    assert_close(error, torch.tensor([1.0], dtype=torch.float64))  # sqrt(2) / sqrt(2)


def test_refuses_other_prompts():
    with pytest.raises(InputError, match=r"found \[2, 1, 1\] and \[3, 1, 1\]"):
        win_rates(torch.zeros(2, 1, 1), torch.zeros(3, 1, 1))
