import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_heads.probes.spectrum import Spectrum


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 100), st.sampled_from([1e-3, 1.0, 50.0]))
def test_variance_is_the_quadratic_form_of_the_inverse(n, d, seed, precision):
    rng = np.random.default_rng(seed)
    x, new = rng.normal(size=(n, d)), rng.normal(size=(4, d))
    x[:, d // 2] = x[:, 0]  # collinear
    inverse = np.linalg.inv(x.T @ x + precision * np.eye(d))
    expected = np.einsum("ni,ij,nj->n", new, inverse, new)
    np.testing.assert_allclose(Spectrum.of(x).variance(new, precision), expected, rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(5, 3), (3, 5), (1, 4)])
def test_directions_are_orthonormal_and_hold_every_row(n, d):
    x = np.random.default_rng(0).normal(size=(n, d))
    found = Spectrum.of(x)
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(min(n, d)), atol=1e-12)
    np.testing.assert_allclose(x @ found.directions @ found.directions.T, x, atol=1e-12)
    np.testing.assert_allclose(np.square(x @ found.directions).sum(0), found.values, rtol=1e-9)


def test_without_data_the_prior_stays():
    assert Spectrum.of(np.zeros((2, 3))).variance(np.array([[3.0, 4.0, 0.0]]), 2.0) == pytest.approx([12.5])
