import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import kstest

from frontier.choose.elicit.utilities import MARGIN, LinearUtilities, ProcessUtilities, simplex_weights

POINTS = np.array([[0.0, 1.0], [0.5, 0.8], [1.0, 0.0]])


def latent(family, *leading):
    """One latent: the given numbers, then zeros (no residual)."""
    return np.array([[*leading, *[0.0] * (family.dimensions - len(leading))]])


def test_weights_are_uniform_on_the_simplex():
    weights = simplex_weights(np.random.default_rng(0).standard_normal((4000, 3)))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    # one of 3 weights that are uniform on the simplex is Beta(1, 2): F(w) = 1 - (1 - w)^2
    assert kstest(weights[:, 1], lambda w: 1 - (1 - w) ** 2).pvalue > 1e-3


def test_linear_by_hand():
    family = LinearUtilities(POINTS)
    equal = family.values(np.zeros((1, 2)))[0]  # weights 0.5, 0.5: 0.5, 0.65, 0.5
    np.testing.assert_allclose(equal, [0, 1, 0], atol=1e-12)


def test_a_process_without_bend_and_residual_is_linear():
    family = ProcessUtilities(POINTS)
    for side in (-1.0, 1.0):
        found = family.values(latent(family, 0.3, -0.4, -40.0, side))
        np.testing.assert_allclose(found, LinearUtilities(POINTS).values(np.array([[0.3, -0.4]])), atol=1e-9)


def test_the_most_bent_are_the_worst_objective_alone_and_tchebycheff():
    family = ProcessUtilities(POINTS)
    worst = family.values(latent(family, 0.0, 0.0, 40.0, 1.0))[0]
    np.testing.assert_allclose(worst, [0, 1, 0], atol=0.05)  # minima 0, 0.5, 0
    w = simplex_weights(np.array([[1.0, 0.0]]))[0]
    found = family.values(latent(family, 1.0, 0.0, 40.0, -1.0))[0]
    exact = -(w * (1 + MARGIN - POINTS)).max(axis=1)
    exact = (exact - exact.min()) / (exact.max() - exact.min())
    np.testing.assert_allclose(found, exact, atol=0.05)


def test_cobb_douglas_in_between():
    family = ProcessUtilities(POINTS)
    half = float(ndtri(0.5))  # bend 1, exponent 0
    found = family.values(latent(family, 0.0, 0.0, half, 1.0))[0]
    exact = np.prod((POINTS + MARGIN) ** 0.5, axis=1)
    np.testing.assert_allclose(found, (exact - exact.min()) / (exact.max() - exact.min()), atol=0.02)


def test_the_residual_has_the_kernel_of_the_process():
    points = np.random.default_rng(0).random((6, 2))
    family = ProcessUtilities(points, lengthscale=0.5, amplitude=0.3)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    np.testing.assert_allclose(family._modes.T @ family._modes, 0.09 * np.exp(-squared / 0.5), atol=0.01)


@pytest.mark.parametrize("family", [LinearUtilities, ProcessUtilities])
def test_every_utility_goes_from_0_to_1_and_is_finite(family):
    points = np.random.default_rng(1).random((20, 4))
    made = family(points)
    values = made.values(5 * np.random.default_rng(2).standard_normal((500, made.dimensions)))
    assert values.shape == (500, 20)
    np.testing.assert_allclose(values.min(axis=1), 0)
    np.testing.assert_allclose(values.max(axis=1), 1)
