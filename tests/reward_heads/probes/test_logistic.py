import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from reward_heads.probes.logistic import Rows, logistic
from reward_heads.probes.spectrum import Spectrum


def make_rows(n=60, d=5, seed=0, flags=0.0, ratings=0.0, hard=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    kind = rng.random(n)
    rated, level = kind < ratings, (kind < ratings + flags).astype(float)
    p = 1 / (1 + np.exp(-x @ np.linspace(-1, 2, d) - 0.5 * level))
    targets = np.where(rated, x @ np.linspace(-1, 2, d) + rng.normal(size=n), (rng.random(n) < p) if hard else p)
    return Rows(x, level, targets.astype(float), np.where(rated, 0.4, 0.0))


def solve(rows, alphas, **settings):
    return logistic(rows, Spectrum.of(rows.x), alphas, **settings)


def test_hand_computed():
    # A single pair of certain label at distance 1: σ(β) - 1 + αβ = 0 holds at β = 1 for α = 1 - σ(1).
    rows = Rows(np.array([[1.0]]), np.zeros(1), np.ones(1), np.zeros(1))
    coefficients, intercepts = solve(rows, [1 - 1 / (1 + math.exp(-1))], polish=True)
    assert coefficients[0, 0] == pytest.approx(1.0)
    assert intercepts[0] == 0.0


def test_pairs_agree_with_scikit_learn_on_both_outcomes_weighted():
    rows, alphas = make_rows(), [0.03, 1.0, 30.0]
    coefficients, intercepts = solve(rows, alphas, polish=True)
    n = len(rows.x)
    for alpha, found in zip(alphas, coefficients, strict=True):
        model = LogisticRegression(C=1 / alpha, fit_intercept=False, tol=1e-12, max_iter=10000)
        weights = np.concatenate([rows.targets, 1 - rows.targets])
        model.fit(np.vstack([rows.x, rows.x]), np.repeat([1, 0], n), sample_weight=weights)
        np.testing.assert_allclose(found, model.coef_[0], rtol=1e-5, atol=1e-7)
    assert not intercepts.any()


@pytest.mark.parametrize("d", [5, 100])
def test_flags_agree_with_scikit_learn(d):
    rows = make_rows(d=d, flags=1.0, hard=True)
    coefficients, intercepts = solve(rows, [0.5], polish=True)
    model = LogisticRegression(C=2.0, tol=1e-12, max_iter=10000).fit(rows.x, rows.targets)
    np.testing.assert_allclose(coefficients[0], model.coef_[0], rtol=1e-4, atol=1e-6)
    assert intercepts[0] == pytest.approx(model.intercept_[0], rel=1e-4)


def test_ratings_alone_are_a_ridge():
    rows = make_rows(ratings=1.0)
    coefficients, intercepts = solve(rows, [3.0], polish=True)
    expected = Ridge(alpha=3.0 * 0.4).fit(rows.x, rows.targets)
    np.testing.assert_allclose(coefficients[0], expected.coef_, rtol=1e-6)
    assert intercepts[0] == pytest.approx(expected.intercept_, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 40), st.integers(1, 12), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 10)
)
def test_the_slope_vanishes_at_the_answer(n, d, seed, flags, ratings, alpha):
    rows = make_rows(n, d, seed, flags, ratings)
    coefficients, intercepts = solve(rows, [alpha], polish=True)
    slopes = rows.slopes(rows.x @ coefficients[0] + rows.level * intercepts[0])
    np.testing.assert_allclose(rows.x.T @ slopes + alpha * coefficients[0], 0, atol=1e-6 * n)
    assert abs(rows.level @ slopes) < 1e-5 * n


def test_swapping_both_sides_of_every_pair_changes_nothing():
    rows = make_rows()
    turned = Rows(-rows.x, rows.level, 1 - rows.targets, rows.noise)
    np.testing.assert_allclose(solve(rows, [1.0])[0], solve(turned, [1.0])[0], rtol=1e-5)


def test_ties_pull_to_zero():
    rows = make_rows()
    ties = Rows(rows.x, rows.level, np.full(len(rows.x), 0.5), rows.noise)
    np.testing.assert_allclose(solve(ties, [1e-6], polish=True)[0], 0, atol=1e-9)


def test_separable_pairs_stay_finite_and_grow_as_the_penalty_falls():
    x = np.array([[1.0, 0.0], [2.0, 0.0]])
    coefficients, _ = solve(Rows(x, np.zeros(2), np.ones(2), np.zeros(2)), [1e-6, 1.0], polish=True)
    assert np.isfinite(coefficients).all()
    assert coefficients[0, 0] > 5 * coefficients[1, 0] > 0


def test_derivatives_are_those_of_the_loss():
    rows, eta, step = make_rows(flags=0.3, ratings=0.3), np.linspace(-40, 40, 60), 1e-4
    up, down = rows.losses(eta + step), rows.losses(eta - step)
    np.testing.assert_allclose((up - down) / (2 * step), rows.slopes(eta), atol=1e-6)
    up, down = rows.slopes(eta + step), rows.slopes(eta - step)
    np.testing.assert_allclose((up - down) / (2 * step), rows.curvatures(eta), atol=1e-6)
