import math

import pytest
import torch
from asserts import assert_scalarizer, cases
from hypothesis import given, settings
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.smooth_tchebycheff import SmoothTchebycheff

UTOPIA = torch.tensor([1.0, 2.0])
NAN = math.nan


def test_hand_computed():
    s = SmoothTchebycheff(UTOPIA, smoothing=1.0)
    got = s(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))
    assert_close(got, torch.tensor(-(0.5 + math.log(2))))  # both shortfalls are 0.5: -log(2 e^0.5)


@settings(deadline=None)
@given(cases())
def test_properties(case):
    assert_scalarizer(lambda point, scale: SmoothTchebycheff(point, smoothing=0.5 * scale), case)


@settings(deadline=None)
@given(cases())
def test_approaches_tchebycheff_as_smoothing_vanishes_and_stays_within_its_bounds(case):
    exact = -(case.weights * (case.point - case.rewards)).amax(-1)
    assert_close(SmoothTchebycheff(case.point, 1e-6)(case.rewards, case.weights), exact, atol=1e-5, rtol=0)
    smooth = SmoothTchebycheff(case.point, 0.7)(case.rewards, case.weights)
    assert exact - 0.7 * math.log(3) - 1e-9 <= smooth <= exact + 1e-9


def test_prefers_the_balanced_point_that_no_linear_sum_can():
    ends, middle = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.45, 0.45]])  # a concave front
    s = SmoothTchebycheff(torch.ones(2), smoothing=0.01)
    values = s(torch.cat([ends, middle]), torch.full((3, 2), 0.5))
    assert values.argmax() == 2


def test_the_lagging_objective_gets_the_gradient():
    rewards = torch.tensor([0.9, 0.0], requires_grad=True)
    SmoothTchebycheff(torch.ones(2), smoothing=0.01)(rewards, torch.tensor([0.5, 0.5])).backward()
    assert_close(rewards.grad, torch.tensor([0.0, 0.5]))


def test_a_missing_reward_leaves_the_gradient_finite():
    rewards = torch.tensor([0.9, NAN], requires_grad=True)
    SmoothTchebycheff(torch.ones(2))(rewards, torch.tensor([0.5, 0.5])).backward()
    assert_close(rewards.grad, torch.tensor([1.0, 0.0]))


def test_survives_large_shortfalls():
    s = SmoothTchebycheff(UTOPIA, smoothing=1e-3)
    assert torch.isfinite(s(torch.tensor([-1e4, -1e4]), torch.tensor([0.5, 0.5])))


def test_nothing_known_of_what_was_asked_for_is_nan():
    s = SmoothTchebycheff(UTOPIA)
    assert s(torch.tensor([NAN, NAN]), torch.tensor([0.5, 0.5])).isnan()
    assert s(torch.tensor([1.0, NAN]), torch.tensor([0.0, 1.0])).isnan()


@pytest.mark.parametrize("smoothing", [0.0, -1.0, NAN, math.inf])
def test_refuses_bad_smoothing(smoothing):
    with pytest.raises(InputError, match="smoothing must be positive"):
        SmoothTchebycheff(UTOPIA, smoothing=smoothing)


def test_refuses_a_bad_utopia_negative_weights_and_another_width():
    with pytest.raises(InputError, match="utopia must be a finite vector"):
        SmoothTchebycheff(torch.tensor([1.0, math.inf]))
    with pytest.raises(InputError, match=r"not negative here, found -0\.6"):
        SmoothTchebycheff(UTOPIA)(torch.zeros(2), torch.tensor([0.8, -0.6]))
    with pytest.raises(InputError, match="for 2 rewards"):
        SmoothTchebycheff(UTOPIA)(torch.zeros(3), torch.ones(3))
