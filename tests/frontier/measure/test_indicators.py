import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, controllability_gap, eum, mip, steering

WEIGHTS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
POINTS = np.array([[2.0, 0.0], [1.2, 1.2], [0.0, 1.0]])


@st.composite
def steered(draw):
    """Rewards and simplex weights of the same shape."""
    n, k = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    raw = draw(arrays(np.float64, (n, k), elements=st.floats(0.01, 1)))
    rewards = draw(arrays(np.float64, (n, k), elements=st.floats(-100, 100)))
    return rewards, raw / raw.sum(axis=1, keepdims=True)


def test_eum_by_hand():
    # w = (1,0): 2.0; (.5,.5): 1.2; (0,1): the middle point, 1.2.
    assert eum(POINTS, WEIGHTS) == pytest.approx((2.0 + 1.2 + 1.2) / 3)


def test_mip_by_hand():
    assert mip(POINTS, WEIGHTS) == pytest.approx((2.0 + 1.2 + 1.0) / 3)


def test_gap_by_hand():
    assert controllability_gap(POINTS, WEIGHTS) == pytest.approx(0.2 / 3)


@settings(deadline=None)
@given(steered())
def test_gap_is_eum_minus_mip_and_never_negative(case):
    rewards, weights = case
    gap = controllability_gap(rewards, weights)
    assert gap >= 0
    assert gap == pytest.approx(eum(rewards, weights) - mip(rewards, weights), abs=1e-9)


@settings(deadline=None)
@given(steered())
def test_eum_never_falls_when_a_point_is_added(case):
    rewards, weights = case
    assert eum(np.concatenate([rewards, rewards[:1] + 1]), weights) >= eum(rewards, weights)


def test_swapped_answers_leave_eum_and_lower_mip():
    swapped = POINTS[::-1]
    assert eum(swapped, WEIGHTS) == eum(POINTS, WEIGHTS)
    assert mip(swapped, WEIGHTS) < mip(POINTS, WEIGHTS)


def test_steering_of_ordered_rewards_is_one_and_of_reversed_ones_minus_one():
    rewards = np.stack([np.exp(WEIGHTS[:, 0]), -WEIGHTS[:, 1]], axis=1)
    assert steering(WEIGHTS, rewards) == pytest.approx([1.0, -1.0])


def test_steering_by_hand():
    # One swapped neighbour among four: 1 - 6·2/(4·15) = 0.8.
    w = np.array([[0.0], [0.1], [0.2], [0.3]])
    assert steering(w, np.array([[0.0], [2.0], [1.0], [3.0]])) == pytest.approx([0.8])


@settings(deadline=None)
@given(steered(), st.floats(0.1, 10), st.floats(-5, 5))
def test_steering_does_not_depend_on_the_scale_of_rewards(case, scale, shift):
    rewards, weights = np.round(case[0], 3), case[1]
    expected = steering(weights, rewards)
    np.testing.assert_allclose(steering(weights, rewards * scale + shift), expected, atol=1e-9)


def test_steering_is_not_known_without_an_order():
    constant = np.array([[0.2, 0.8], [0.2, 0.8]])
    varied = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert np.isnan(steering(constant, varied)).all()
    got = steering(varied, [[3.0, 1.0], [3.0, 2.0]])
    assert math.isnan(got[0])
    assert got[1] == pytest.approx(-1.0)
    assert np.isnan(steering(varied[:1], varied[:1])).all()


@pytest.mark.parametrize("measure", [mip, controllability_gap])
def test_refuses_rows_that_do_not_pair(measure):
    with pytest.raises(InputError, match="found 2 points and 3 weights"):
        measure(POINTS[:2], WEIGHTS)


@pytest.mark.parametrize("measure", [eum, mip, controllability_gap])
def test_refuses_empty_and_not_finite(measure):
    with pytest.raises(InputError, match="there are no weights"):
        measure(POINTS, [])
    with pytest.raises(InputError, match="there are no"):
        measure(np.zeros((0, 2)), WEIGHTS)
    with pytest.raises(InputError, match="row 1 of the weights is not finite"):
        measure(POINTS, [[1, 0], [math.nan, 0], [1, 0]])
    with pytest.raises(InputError, match="2 columns, found 3"):
        measure(np.zeros((3, 3)), WEIGHTS)
