import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.indicators.spacing import SpacingIndicator

from frontier import InputError
from frontier.measure import non_dominated
from frontier.measure.spread import spacing, sparsity, spread

ALL = [spread, sparsity, spacing]


def test_by_hand():
    front = [[0.0, 4.0], [1.0, 2.0], [3.0, 0.0]]
    assert spread(front) == 5.0
    assert sparsity(front) == pytest.approx(((1 + 4) + (4 + 4)) / 2)
    # Nearest in sum: 3, 3 (of 3 and 4), 4: mean 10/3, squares (1 + 1 + 4)/9, divided by 2.
    assert spacing(front) == pytest.approx(math.sqrt(6 / 9 / 2))


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 9999))
def test_spacing_against_pymoo(k, seed):
    points = np.random.default_rng(seed).uniform(size=(20, k))
    front = points[non_dominated(points)]
    if len(front) > 1:
        # pymoo divides by n, we by n - 1 as the definition has it.
        expected = float(SpacingIndicator()(-front)) * math.sqrt(len(front) / (len(front) - 1))
        assert spacing(points) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 9999), st.randoms(use_true_random=False))
def test_only_the_front_counts_in_any_order(k, seed, random):
    points = np.random.default_rng(seed).normal(size=(8, k))
    other = np.concatenate([points, points[:2], points - 1])[random.sample(range(18), 18)]
    for measure in ALL:
        np.testing.assert_allclose(measure(other), measure(points), rtol=1e-12, atol=1e-12)


def test_units_and_scale():
    points = np.random.default_rng(0).normal(size=(30, 3))
    units = np.array([2.0, 0.5, 4.0])
    for measure in ALL:
        assert measure(points * units + 3, scale=units) == pytest.approx(measure(points))
    assert spread(points * 2) == pytest.approx(2 * spread(points))
    assert sparsity(points * 2) == pytest.approx(4 * sparsity(points))


def test_the_caveat_of_sparsity_is_true():
    # Cutting both ends off an even front lowers sparsity: "better", though every extreme user is worse off.
    even = np.column_stack([np.linspace(0, 1, 11), np.linspace(1, 0, 11)])
    even[0], even[-1] = [-1, 2], [2, -1]
    assert sparsity(even[1:-1]) < sparsity(even)


def test_one_point():
    assert spread([[1.0, 2.0], [0.0, 1.0]]) == 0.0
    assert math.isnan(sparsity([[1.0, 2.0], [0.0, 1.0]]))
    assert math.isnan(spacing([[1.0, 2.0], [1.0, 2.0]]))


@pytest.mark.parametrize("measure", ALL)
def test_refuses(measure):
    with pytest.raises(InputError, match="there are no points"):
        measure([])
    with pytest.raises(InputError, match="row 0 of the points is not finite"):
        measure([[math.nan, 1.0]])
    for scale in ([1.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]):
        with pytest.raises(InputError, match="scale must be one row of numbers above 0"):
            measure([[0.0, 1.0]], scale=scale)
    with pytest.raises(InputError, match="2 columns, found 3"):
        measure([[0.0, 1.0]], scale=[1, 1, 1])
