import math

import numpy as np
import pytest
from scipy import stats

from frontier.errors import InputError
from frontier.measure.uncertainty.lower_bounds import (
    betting_bound,
    betting_p_value,
    check_span,
    skewness_bound,
    skewness_p_value,
    t_bound,
    t_p_value,
)

VALUES = np.random.default_rng(0).normal(0.5, 0.1, 40).clip(0, 1)


def test_t_agrees_with_scipy():
    theirs = stats.ttest_1samp(VALUES, 0.47, alternative="greater")
    assert t_p_value(VALUES, 0.47) == pytest.approx(theirs.pvalue)
    assert t_bound(VALUES, 0.05) == pytest.approx(theirs.confidence_interval(0.95).low)


def test_skewness_by_hand():
    # 0, 1, ..., 1 (ten values): mean 0.9, s 0.316228, skewness -3.162278; t(0.95, 9) = 1.833113.
    values = np.array([0.0] + [1.0] * 9)
    h = (-1.2 * 3.162278 - 1.5 * math.sqrt(0.6)) / math.sqrt(10)
    quantile = 1.833113 - h * (1 + 2 * 1.833113**2) / 6 + 0.4 * h * h * 1.833113 * (1 + 1.833113**2)
    assert skewness_bound(values, 0.05) == pytest.approx(0.9 - quantile * 0.1, abs=1e-5)


def test_skewness_never_lies_above_t_and_is_t_when_the_long_tail_is_good():
    good = np.random.default_rng(0).exponential(size=100)
    assert skewness_bound(good, 0.05) == t_bound(good, 0.05)
    assert skewness_bound(-good, 0.05) < t_bound(-good, 0.05)


@pytest.mark.parametrize("delta", [0.05, 0.0024])
def test_bounds_and_p_values_tell_the_same(delta):
    bound = skewness_bound(VALUES, delta)
    assert skewness_p_value(VALUES, bound) == pytest.approx(delta, rel=1e-6)
    bound = betting_bound(VALUES, delta, (0, 1))
    assert betting_p_value(VALUES, bound, delta, (0, 1)) <= delta
    assert betting_p_value(VALUES, bound + 1.1e-3, delta, (0, 1)) > delta


def test_betting_by_hand():
    # One prompt, r = 1, m = 0.5: the first bet is sqrt(2 log 20 / 0.25) = 4.9, held to 0.5 / 0.5; capital 1 + 1 * 0.5.
    assert betting_p_value(np.array([1.0]), 0.5, 0.05, (0, 1)) == pytest.approx(1 / 1.5)


def test_betting_is_rigorous_where_no_sample_shows_the_failures():
    # Nine replies in ten are good; a sample of 30 without a failure must not certify 0.9.
    assert betting_p_value(np.ones(30), 0.9, 0.05, (0, 1)) > 0.05
    assert betting_bound(np.ones(200), 0.05, (0, 1)) > 0.9  # but 200 may


def test_betting_does_not_depend_on_units():
    shifted = betting_bound(10 * VALUES - 3, 0.05, (-3, 7))
    assert shifted == pytest.approx(10 * betting_bound(VALUES, 0.05, (0, 1)) - 3)


def test_minimum_outside_the_range():
    assert betting_p_value(VALUES, -0.1, 0.05, (0, 1)) == 0.0
    assert betting_p_value(VALUES, 1.1, 0.05, (0, 1)) == 1.0


def test_alike_values_prove_nothing_by_their_spread():
    alike = np.full(50, 0.1) + 0.2  # rounding leaves it a spread of 1e-17
    assert t_p_value(alike, 0.0) == skewness_p_value(alike, 0.0) == 1.0


def test_a_mean_below_the_minimum_never_passes():
    assert skewness_p_value(VALUES, 0.6) > 0.5
    assert betting_p_value(VALUES, 0.6, 0.05, (0, 1)) > 0.5


@pytest.mark.parametrize(
    ("kind", "bound"), [("exponential", skewness_p_value), ("gamma", skewness_p_value), ("failures", betting_p_value)]
)
def test_false_passes_of_skewed_rewards(kind, bound):
    generator, passed = np.random.default_rng(1), 0
    for _ in range(3000):
        if kind == "failures":
            passed += betting_p_value((generator.random(60) < 0.95).astype(float), 0.95, 0.05, (0, 1)) <= 0.05
        else:
            values = 1 - generator.exponential(size=60) if kind == "exponential" else 4 - generator.gamma(4, size=60)
            passed += bound(values, 0.0) <= 0.05
    assert passed / 3000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 3000)


@pytest.mark.parametrize(("span", "message"), [((1, 0), "the lower first"), ((0.4, 1), "lie outside of their range")])
def test_refuses_ranges(span, message):
    with pytest.raises(InputError, match=message):
        check_span(span, VALUES)


def test_no_bound_is_shown_by_alike_values():
    alike = np.full(50, 0.1) + 0.2
    assert t_bound(alike, 0.05) == skewness_bound(alike, 0.05) == -math.inf
    assert 0.2 < betting_bound(alike, 0.05, (0, 1)) < 0.3  # but by their range


def test_a_bound_stays_finite_at_any_delta():
    assert -math.inf < skewness_bound(VALUES, 1e-18) < t_bound(VALUES, 1e-18) < t_bound(VALUES, 1e-12)


def test_no_mean_lies_below_the_range():
    assert betting_p_value(np.zeros(30), 0.0, 0.05, (0, 1)) == 0.0
    assert betting_p_value(np.ones(30), 1.0, 0.05, (0, 1)) == 1.0


def test_a_minimum_far_away():
    for power in range(1, 300, 7):
        assert skewness_p_value(VALUES, -(10.0**power)) < 1e-9
