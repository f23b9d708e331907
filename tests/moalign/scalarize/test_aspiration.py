import math

import pytest
import torch
from asserts import assert_scalarizer, cases
from hypothesis import given, settings
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.aspiration import Aspiration
from moalign.scalarize.smooth_tchebycheff import SmoothTchebycheff

NAN = math.nan


def test_hand_computed():
    s = Aspiration(torch.tensor([1.0, 2.0]), augmentation=0.1)
    got = s(torch.tensor([3.0, 1.0]), torch.tensor([0.5, 0.5]))
    assert_close(got, torch.tensor(-0.5 + 0.1 * (1.0 - 0.5)))


@settings(deadline=None)
@given(cases())
def test_properties(case):
    assert_scalarizer(lambda point, scale: Aspiration(point), case)


@settings(deadline=None)
@given(cases())
def test_without_augmentation_it_is_the_limit_of_smooth_tchebycheff(case):
    exact = Aspiration(case.point, augmentation=0.0)(case.rewards, case.weights)
    assert_close(SmoothTchebycheff(case.point, 1e-6)(case.rewards, case.weights), exact, atol=1e-5, rtol=0)


@settings(deadline=None)
@given(cases())
def test_positive_without_augmentation_exactly_where_every_wish_is_exceeded(case):
    value = Aspiration(case.point, augmentation=0.0)(case.rewards, case.weights)
    assert (value > 0) == (case.rewards > case.point).all()


def test_augmentation_breaks_the_tie_of_a_weakly_dominated_point():
    rewards, weights = torch.tensor([[0.0, 0.0], [0.0, 1.0]]), torch.full((2, 2), 0.5)
    weak = Aspiration(torch.zeros(2), augmentation=0.0)(rewards, weights)
    strict = Aspiration(torch.zeros(2))(rewards, weights)
    assert weak[0] == weak[1]
    assert strict[0] < strict[1]


def test_an_objective_without_weight_does_not_cap_the_others():
    s = Aspiration(torch.zeros(2), augmentation=0.0)
    assert_close(s(torch.tensor([4.0, -9.0]), torch.tensor([1.0, 0.0])), torch.tensor(4.0))


def test_nothing_known_of_what_was_asked_for_is_nan():
    s = Aspiration(torch.zeros(2))
    assert s(torch.tensor([1.0, NAN]), torch.tensor([0.0, 1.0])).isnan()


@pytest.mark.parametrize("augmentation", [-0.1, NAN, math.inf])
def test_refuses_bad_augmentation(augmentation):
    with pytest.raises(InputError, match="augmentation must not be negative"):
        Aspiration(torch.zeros(2), augmentation)


def test_refuses_a_bad_aspiration_and_directions():
    with pytest.raises(InputError, match="aspiration must be a finite vector"):
        Aspiration(torch.tensor([NAN, 0.0]))
    with pytest.raises(InputError, match="not negative"):
        Aspiration(torch.zeros(2))(torch.zeros(2), torch.tensor([0.8, -0.6]))
