import numpy as np
import pytest
from scipy.stats import f

from frontier.plot.ellipse import confidence_ellipse


def test_every_corner_lies_on_hotellings_region():
    mean, covariance, n = np.array([1.0, -2.0]), np.array([[0.04, -0.015], [-0.015, 0.01]]), 20
    outline = confidence_ellipse(mean, covariance, n) - mean
    distance = np.einsum("ij,ij->i", outline @ np.linalg.inv(covariance), outline)
    np.testing.assert_allclose(distance, 2 * 19 / 18 * f.ppf(0.95, 2, 18))
    np.testing.assert_allclose(outline[0], outline[-1])


def test_contains_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    shape, inside = np.linalg.cholesky([[1.0, 0.6], [0.6, 2.0]]), 0
    for _ in range(2000):
        rows = rng.normal(size=(8, 2)) @ shape.T
        covariance = np.cov(rows, rowvar=False) / 8
        outline = confidence_ellipse(rows.mean(0), covariance, 8) - rows.mean(0)
        radius = outline[0] @ np.linalg.solve(covariance, outline[0])
        inside += rows.mean(0) @ np.linalg.solve(covariance, rows.mean(0)) <= radius
    assert abs(inside / 2000 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_a_wide_region_for_few_prompts_and_the_normal_one_for_many():
    unit = np.eye(2)
    assert np.abs(confidence_ellipse(np.zeros(2), unit, 3)).max() > 15
    np.testing.assert_allclose(np.abs(confidence_ellipse(np.zeros(2), unit, 10**7)).max(), 2.4477, atol=1e-3)


def test_what_is_not_known_has_no_region():
    assert confidence_ellipse(np.zeros(2), np.full((2, 2), np.nan), 100) is None
    assert confidence_ellipse(np.zeros(2), np.eye(2), 2) is None


@pytest.mark.parametrize("covariance", [np.zeros((2, 2)), np.ones((2, 2))])
def test_a_singular_covariance_gives_a_line_or_a_point(covariance):
    outline = confidence_ellipse(np.zeros(2), covariance, 50)
    assert np.isfinite(outline).all()
    np.testing.assert_allclose(outline[:, 0], outline[:, 1], atol=1e-7)
