import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import InputError
from frontier.measure.dispersion import crd

SQUARE = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]


def test_by_hand():
    # Variances 4/3 and no covariance; a second preference with all the same answers has determinant 0.
    assert crd([SQUARE]) == pytest.approx((4 / 3) ** 2)
    assert crd([SQUARE, np.ones((4, 2))]) == pytest.approx((4 / 3) ** 2 / 2)
    assert crd([[[0.0], [2.0]]]) == pytest.approx(2.0)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 9999))
def test_a_linear_map_scales_it_by_its_squared_determinant(k, seed):
    rng = np.random.default_rng(seed)
    rewards, matrix = rng.normal(size=(3, 12, k)), rng.normal(size=(k, k))
    assert crd(rewards @ matrix.T + 5) == pytest.approx(np.linalg.det(matrix) ** 2 * crd(rewards), rel=1e-6)


def test_objectives_that_move_together_have_none():
    x = np.linspace(0.1, 1, 9)
    got = crd([np.column_stack([x, 3 * x, np.sin(x)])])
    assert got == pytest.approx(0.0, abs=1e-15)
    assert got >= 0


def test_a_prompt_that_is_not_known_is_left_out():
    assert crd([[*SQUARE, [math.nan, 50.0]]]) == crd([SQUARE])


def test_refuses():
    with pytest.raises(InputError, match=r"table \[W, N, K\]"):
        crd(SQUARE)
    with pytest.raises(InputError, match="not empty"):
        crd(np.zeros((0, 4, 2)))
    with pytest.raises(InputError, match="of numbers"):
        crd([[["a", "b"]]])
    with pytest.raises(InputError, match="preference 1 on prompt 0 are not finite"):
        crd([SQUARE, [[math.inf, 0], [0, 0], [1, 1], [2, 1]]])
    with pytest.raises(InputError, match=r"2 objectives needs 3 prompts .* preference 0 has 2"):
        crd([SQUARE[:2]])
