import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, controllability_gap, eum, mip
from frontier.measure import indicators

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


def test_gap_of_many_users_is_taken_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    rewards, weights = rng.normal(size=(50, 3)), rng.dirichlet(np.ones(3), 50)
    expected = np.mean([(rewards @ w).max() - rewards[i] @ w for i, w in enumerate(weights)])
    for users in (1, 7, 50, 1000):
        monkeypatch.setattr(indicators, "USERS_AT_ONCE", users)
        assert controllability_gap(rewards, weights) == pytest.approx(expected)
