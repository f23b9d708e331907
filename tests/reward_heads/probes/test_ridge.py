import numpy as np
import pytest
from sklearn.linear_model import Ridge

from reward_heads.probes.ridge import degrees_of_freedom, noise_variance, ridge
from reward_heads.probes.spectrum import Spectrum


def test_hand_computed():
    # Centred: x = (-1, 0, 1), t - 4 = (-3, 0, 3), so x·t = 6 and x·x = 2: 6 / (2 + 1) = 2, intercept 4 - 2 · 2.
    x, t = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 4.0, 7.0])
    spectrum = Spectrum.of(x - 2)
    coefficients, intercepts = ridge(x, t, spectrum, np.array([1.0, 4.0]))
    assert coefficients[:, 0] == pytest.approx([2.0, 1.0])
    assert intercepts == pytest.approx([0.0, 2.0])
    assert degrees_of_freedom(spectrum, 1.0) == pytest.approx(2 / 3)
    # Residuals -1, 0, 1 over 3 - 1 - 2/3.
    assert noise_variance(x, t, coefficients[0], intercepts[0], 2 / 3) == pytest.approx(2 / (4 / 3))


@pytest.mark.parametrize(("n", "d"), [(30, 4), (6, 20)])
def test_agrees_with_scikit_learn(n, d):
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(n, d)) + 3, rng.normal(size=n) + 10
    alphas = np.array([0.01, 1.0, 100.0])
    coefficients, intercepts = ridge(x, t, Spectrum.of(x - x.mean(0)), alphas)
    for alpha, coefficient, intercept in zip(alphas, coefficients, intercepts, strict=True):
        expected = Ridge(alpha=alpha).fit(x, t)
        np.testing.assert_allclose(coefficient, expected.coef_, rtol=1e-6, atol=1e-9)
        assert intercept == pytest.approx(expected.intercept_, rel=1e-6)


def test_noise_of_a_perfect_fit_stays_positive():
    assert noise_variance(np.eye(2), np.zeros(2), np.zeros(2), 0.0, 1.0) > 0
