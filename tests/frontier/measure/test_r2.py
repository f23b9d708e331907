import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import InputError, eum
from frontier.measure.lattice import weight_lattice
from frontier.measure.r2 import r2, r2_exact

UTOPIA = [4.0, 4.0]
POINTS = [[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]]


def test_by_hand():
    # (1, 0): 4 - 3; (.5, .5): .5·2 of the middle point; (.25, .75): .75·1 of the first, against .75·2 of the middle.
    weights = [[1, 0], [0.5, 0.5], [0.25, 0.75]]
    assert r2(POINTS, UTOPIA, weights) == pytest.approx((1 + 1 + 0.75) / 3)
    # (1, 0): 1; (.5, .5): 2 for all; (.25, .75): .25·3 + .75·1.
    assert r2(POINTS, UTOPIA, weights, "weighted_sum") == pytest.approx((1 + 2 + 1.5) / 3)


def test_only_tchebycheff_users_profit_from_a_concave_part():
    ends, weights = [[0.0, 4.0], [4.0, 0.0]], weight_lattice(2, 10)
    inner = [*ends, [1.5, 1.5]]
    assert r2(inner, UTOPIA, weights, "weighted_sum") == r2(ends, UTOPIA, weights, "weighted_sum")
    assert r2(inner, UTOPIA, weights) < r2(ends, UTOPIA, weights)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 9999))
def test_weighted_sums_are_what_eum_leaves_of_the_utopia(k, seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(6, k)), rng.dirichlet(np.ones(k), 9)
    utopia = points.max(axis=0) + 1
    expected = (weights @ utopia).mean() - eum(points, weights)
    assert r2(points, utopia, weights, "weighted_sum") == pytest.approx(expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(0, 9999))
def test_exact_is_the_limit_of_a_fine_lattice(n, seed):
    points = np.random.default_rng(seed).normal(size=(n, 2))
    utopia = points.max(axis=0) + 0.3
    assert r2_exact(points, utopia) == pytest.approx(r2(points, utopia, weight_lattice(2, 4000)), rel=1e-3)


@settings(deadline=None)
@given(st.integers(0, 9999))
def test_better_sets_have_smaller_values(seed):
    points = np.random.default_rng(seed).uniform(size=(5, 2))
    more = np.concatenate([points, np.random.default_rng(seed + 1).uniform(size=(1, 2))])
    weights = weight_lattice(2, 7)
    assert r2_exact(points + 0.1, [2, 2]) < r2_exact(points, [2, 2])
    assert r2_exact(more, [2, 2]) <= r2_exact(points, [2, 2]) + 1e-12
    for utility in ("tchebycheff", "weighted_sum"):
        assert r2(more, [2, 2], weights, utility) <= r2(points, [2, 2], weights, utility) + 1e-12


def test_exact_by_hand_with_duplicates_and_dominated_points():
    # max(w·1, (1 - w)·1) integrates to 3/4.
    assert r2_exact([[0, 0]], [1, 1]) == pytest.approx(0.75)
    assert r2_exact([[0, 0], [0, 0], [-1, 0], [-1, -1]], [1, 1]) == pytest.approx(0.75)
    assert r2_exact([[1, 1], [0, 0]], [1, 1]) == 0.0  # the utopia is there
    assert r2_exact([[0.0], [0.5]], [2.0]) == 1.5


def test_leaves_its_input_alone():
    points, utopia = np.array(POINTS), np.array(UTOPIA)
    r2_exact(points, utopia)
    assert points.tolist() == POINTS
    assert utopia.tolist() == UTOPIA


def test_refuses():
    weights = weight_lattice(2, 2)
    with pytest.raises(InputError, match="unknown utility 'tchebychef': did you mean 'tchebycheff'"):
        r2(POINTS, UTOPIA, weights, "tchebychef")
    with pytest.raises(InputError, match="up to 2 objectives, found 3"):
        r2_exact([[0, 0, 0]], [1, 1, 1])
    with pytest.raises(InputError, match="row 1 of the weights must be at least 0"):
        r2(POINTS, UTOPIA, [[1, 0], [-1, 2]])
    for measure in (r2_exact, lambda p, z: r2(p, z, weights)):
        with pytest.raises(InputError, match=r"row 1 is .* take the largest reward"):
            measure(POINTS, [2.5, 4])
        with pytest.raises(InputError, match="there are no points"):
            measure([], UTOPIA)
        with pytest.raises(InputError, match="row 0 of the points is not finite"):
            measure([[math.nan, 0]], UTOPIA)
        with pytest.raises(InputError, match="utopia point is not finite"):
            measure(POINTS, [math.inf, 4])
        with pytest.raises(InputError, match="2 columns, found 3"):
            measure(POINTS, [4, 4, 4])
        with pytest.raises(InputError, match="one point, found 2 rows"):
            measure(POINTS, [UTOPIA, UTOPIA])
