import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import somersd

from frontier import InputError
from frontier.measure.lattice import weight_lattice
from frontier.measure.steering import monotonicity, steering, trade_off_correlation

WEIGHTS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])


@st.composite
def steered(draw, least=1):
    """Rewards and simplex weights of the same shape; rewards on a grid, so that ties happen and a rescaling keeps them."""
    n, k = draw(st.integers(least, 8)), draw(st.integers(1, 5))
    raw = draw(arrays(np.float64, (n, k), elements=st.integers(1, 9).map(float)))
    rewards = draw(arrays(np.float64, (n, k), elements=st.integers(-20, 20).map(float)))
    return rewards, raw / raw.sum(axis=1, keepdims=True)


# ---- rank correlation


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


# ---- monotonicity


def test_monotonicity_by_hand():
    # Pairs of rising weight in the first: 0 < 1 (rises), 0 < 2 (ties), 1 < 2 (falls).
    w = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    r = [[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]]
    assert monotonicity(w, r).tolist() == pytest.approx([0.5, 0.5])
    assert monotonicity(w, r, ties=0.0).tolist() == pytest.approx([1 / 3, 0.0])
    assert monotonicity(w, r, ties=1.0).tolist() == pytest.approx([2 / 3, 1.0])


@settings(deadline=None)
@given(steered(least=2))
def test_monotonicity_is_somers_d(case):
    rewards, weights = case
    got = monotonicity(weights, rewards)
    for k in range(rewards.shape[1]):
        if np.ptp(weights[:, k]) == 0:
            assert math.isnan(got[k])
        else:
            # Where no reward differs SciPy has no answer; all ties, half each, make 1/2.
            d = somersd(weights[:, k], rewards[:, k]).statistic if np.ptp(rewards[:, k]) else 0.0
            assert got[k] == pytest.approx((1 + d) / 2, abs=1e-12)


@settings(deadline=None)
@given(st.integers(2, 4), st.integers(0, 9999))
def test_the_best_policy_never_gives_less_along_a_line(k, seed):
    # Every user gets the point of a random set that is best for them.
    weights = weight_lattice(k, 5)
    points = np.random.default_rng(seed).normal(size=(12, k))
    rewards = points[(weights @ points.T).argmax(axis=1)]
    assert monotonicity(weights, rewards, ties=1.0, lines=True) == pytest.approx(1.0)


def test_off_the_lines_even_the_best_policy_may_give_less():
    # From (.5, .5, 0) to (.4, 0, .6) the first loses weight and gains reward, since the second, with which it conflicts, loses more.
    points = np.array([[1.0, 4.0, 0.0], [3.0, 0.0, 3.0]])
    weights = np.array([[0.5, 0.5, 0.0], [0.4, 0.0, 0.6]])
    rewards = points[(weights @ points.T).argmax(axis=1)]
    assert monotonicity(weights, rewards, ties=1.0)[0] == 0.0
    assert math.isnan(monotonicity(weights, rewards, lines=True)[0])


def test_lines_by_hand():
    # To the vertex of the first: rows 0, 1 and 3 (others equal), and rows 2 and 3; rows 0 and 2 or 1 and 2 are on different lines.
    weights = [[0.2, 0.4, 0.4], [0.6, 0.2, 0.2], [0.4, 0.6, 0.0], [1.0, 0.0, 0.0]]
    rewards = [[1.0, 0, 0], [0.0, 0, 0], [5.0, 0, 0], [2.0, 0, 0]]
    # (1 > 0): falls; (3 > 0) and (3 > 1): rise; (3 > 2): falls.
    assert monotonicity(weights, rewards, lines=True)[0] == pytest.approx(0.5)


@settings(deadline=None)
@given(steered(least=2))
def test_two_objectives_have_one_line(case):
    rewards, weights = case[0][:, :1], np.column_stack([case[1][:, 0], 1 - case[1][:, 0]])
    rewards = np.column_stack([rewards, -rewards])
    np.testing.assert_array_equal(monotonicity(weights, rewards, lines=True), monotonicity(weights, rewards))


@pytest.mark.parametrize("ties", [-0.1, 1.5, math.nan])
def test_refuses_bad_ties(ties):
    with pytest.raises(InputError, match="ties must lie between 0 and 1"):
        monotonicity(WEIGHTS, WEIGHTS, ties=ties)


def test_lines_need_the_simplex():
    with pytest.raises(InputError, match="row 1 of the weights must sum to 1"):
        monotonicity([[1.0, 0.0], [1.0, 1.0]], WEIGHTS[:2], lines=True)
    with pytest.raises(InputError, match="row 0 of the weights must be at least 0"):
        monotonicity([[1.5, -0.5], [1.0, 0.0]], WEIGHTS[:2], lines=True)


# ---- correlation of the trade-offs


def test_trade_off_of_two_objectives_is_pearsons_correlation():
    rng = np.random.default_rng(0)
    weights, rewards = rng.dirichlet([1, 1], 20), rng.normal(size=(20, 2))
    unit = (rewards - rewards.min(axis=0)) / np.ptp(rewards, axis=0)
    expected = np.corrcoef(weights[:, 0] - weights[:, 1], unit[:, 0] - unit[:, 1])[0, 1]
    assert trade_off_correlation(weights, rewards) == pytest.approx(expected)


def test_trade_off_of_three_objectives_sums_over_the_pairs():
    rng = np.random.default_rng(1)
    weights, rewards = rng.dirichlet([1, 1, 1], 20), rng.normal(size=(20, 3))
    unit = (rewards - rewards.min(axis=0)) / np.ptp(rewards, axis=0)
    covariances = np.array(
        [np.cov(weights[:, a] - weights[:, b], unit[:, a] - unit[:, b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    ).sum(axis=0)
    expected = covariances[0, 1] / math.sqrt(covariances[0, 0] * covariances[1, 1])
    assert trade_off_correlation(weights, rewards) == pytest.approx(expected)


@settings(deadline=None)
@given(steered(), st.sampled_from([0.25, 2.0, 8.0]), st.integers(-5, 5))
def test_trade_off_does_not_depend_on_units_and_turns_with_the_sign(case, scale, shift):
    rewards, weights = case
    got = trade_off_correlation(weights, rewards)
    np.testing.assert_allclose(trade_off_correlation(weights, rewards * scale + shift), got, atol=1e-9)
    np.testing.assert_allclose(trade_off_correlation(weights, -rewards), -got, atol=1e-9)
    assert math.isnan(got) or -1 <= got <= 1


def test_bunched_steering_keeps_its_order_and_loses_proportion():
    w = np.linspace(0, 1, 11)
    weights = np.column_stack([w, 1 - w])
    bunched = np.column_stack([w**9, (1 - w) ** 9])
    assert steering(weights, bunched) == pytest.approx([1.0, 1.0])
    assert trade_off_correlation(weights, weights) == pytest.approx(1.0)
    assert trade_off_correlation(weights, bunched) < 0.9


def test_trade_off_is_not_known_when_nothing_varies():
    assert math.isnan(trade_off_correlation(WEIGHTS, np.ones((3, 2))))
    assert math.isnan(trade_off_correlation(np.full((3, 2), 0.5), WEIGHTS))
    assert math.isnan(trade_off_correlation([[1.0], [1.0]], [[0.0], [1.0]]))


# ---- refusals


@pytest.mark.parametrize("measure", [steering, monotonicity, trade_off_correlation])
def test_refuses(measure):
    with pytest.raises(InputError, match="found 2 points and 3 weights"):
        measure(WEIGHTS, WEIGHTS[:2])
    with pytest.raises(InputError, match="there are no weights"):
        measure([], WEIGHTS)
    with pytest.raises(InputError, match="row 1 of the points is not finite"):
        measure(WEIGHTS, [[1, 0], [math.nan, 0], [0, 1]])
    with pytest.raises(InputError, match="2 columns, found 3"):
        measure(WEIGHTS, np.zeros((3, 3)))


# ---- weights and rewards that differ by rounding


def test_weights_equal_up_to_rounding_say_nothing():
    weights = [[0.3, 0.7], [1 - 0.7, 0.7]]
    assert weights[0][0] != weights[1][0]
    assert np.isnan(monotonicity(weights, [[1, 0], [0, 0]])).all()
    assert np.isnan(steering(weights, [[1, 0], [0, 1]])).all()
    # Two sweeps, the one with w, the other with 1 - (1 - w): as if both had had the same weights.
    w = np.arange(11) / 10
    twice, rewards = np.concatenate([w, 1 - (1 - w)]), np.concatenate([w, w[::-1] / 2])
    both, rounded = [np.column_stack([x, 1 - x]) for x in (twice, np.round(twice, 9))]
    rewards = np.column_stack([rewards, rewards])
    np.testing.assert_array_equal(steering(both, rewards), steering(rounded, rewards))
    np.testing.assert_array_equal(monotonicity(both, rewards), monotonicity(rounded, rewards))


def test_lines_of_weights_with_six_decimals():
    weights = [[0.333333, 0.333333, 0.333334], [0.6, 0.2, 0.2]]
    assert monotonicity(weights, [[0, 1, 1], [1, 0, 0]], lines=True)[0] == 1.0


def test_rewards_equal_up_to_rounding_never_answer():
    noisy, plain = ([[3, b], [2, 0.3], [1, 0.3]] for b in (0.1 + 0.2, 0.3))
    assert trade_off_correlation(WEIGHTS, noisy) == pytest.approx(trade_off_correlation(WEIGHTS, plain))
    assert math.isnan(steering(WEIGHTS, noisy)[1])
