import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import InputError
from frontier.measure.distance import epsilon_additive
from frontier.measure.lattice import weight_lattice
from frontier.measure.utility_loss import largest_loss, mul


def loss(w, points, reference):
    return (np.asarray(reference) @ w).max() - (np.asarray(points) @ w).max()


def by_enumeration(points, reference):
    """The largest loss lies where K - 1 of the planes w·(p - p') = 0 and w_k = 0 meet on the simplex."""
    k = points.shape[1]
    planes = [a - b for a, b in itertools.combinations(points, 2)] + list(np.eye(k))
    best = -math.inf
    for chosen in itertools.combinations(planes, k - 1):
        matrix = np.array([*chosen, np.ones(k)])
        if abs(np.linalg.det(matrix)) > 1e-12:
            w = np.linalg.solve(matrix, np.append(np.zeros(k - 1), 1.0))
            if w.min() >= -1e-9:
                best = max(best, loss(w, points, reference))
    return best


def test_by_hand():
    # At (w, 1 - w) the reference is worth 1.5 and the better end 2·max(w, 1 - w): worst at the middle.
    found = largest_loss([[2, 0], [0, 2]], [[1.5, 1.5]])
    assert found.value == pytest.approx(0.5)
    assert found.weights == pytest.approx((0.5, 0.5))
    assert mul([[2, 0], [0, 2]], [[1.5, 1.5]], [[0.75, 0.25], [0.7, 0.3]]) == pytest.approx(1.5 - 1.4)


def test_a_loss_that_is_negative():
    # A gain of 1 in the first and 3 in the second: whoever looks at the first only gains least.
    found = largest_loss([[2.0, 4.0]], [[1.0, 1.0]])
    assert found.value == pytest.approx(-1.0)
    assert found.weights == pytest.approx((1.0, 0.0))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 9999))
def test_against_enumeration(k, n, r, seed):
    rng = np.random.default_rng(seed)
    points, reference = rng.normal(size=(n, k)), rng.normal(size=(r, k))
    found = largest_loss(points, reference)
    assert found.value == pytest.approx(by_enumeration(points, reference), abs=1e-8)
    assert found.value == pytest.approx(loss(np.array(found.weights), points, reference), abs=1e-12)
    assert sum(found.weights) == pytest.approx(1)
    assert min(found.weights) >= 0


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 9999))
def test_bounds(k, seed):
    rng = np.random.default_rng(seed)
    points, reference = rng.normal(size=(5, k)), rng.normal(size=(4, k))
    exact = mul(points, reference)
    assert mul(points, reference, weight_lattice(k, 4)) <= exact + 1e-9
    assert exact <= epsilon_additive(points, reference) + 1e-9
    assert mul(points, points) == 0.0
    assert mul(np.concatenate([points, reference]), reference) <= 1e-12
    assert mul(points[::-1], np.concatenate([reference, reference])) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_scale_the_loss_only(scale):
    rng = np.random.default_rng(3)
    points, reference = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    expected = largest_loss(points, reference)
    got = largest_loss(points * scale + 7 * scale, reference * scale + 7 * scale)
    assert got.value == pytest.approx(scale * expected.value, rel=1e-7)
    assert got.weights == pytest.approx(expected.weights, abs=1e-6)


def test_refuses():
    front = [[1.0, 0.0], [0.0, 1.0]]
    for weights in (None, weight_lattice(2, 2)):
        with pytest.raises(InputError, match="there are no front points"):
            mul([], front, weights)
        with pytest.raises(InputError, match="there are no reference points"):
            mul(front, [], weights)
        with pytest.raises(InputError, match="2 columns, found 3"):
            mul(front, [[1, 1, 1]], weights)
        with pytest.raises(InputError, match="row 0 of the front points is not finite"):
            mul([[math.nan, 1]], front, weights)
    with pytest.raises(InputError, match="row 0 of the weights must be at least 0"):
        mul(front, front, [[-1.0, 2.0]])


def test_weights_that_sum_to_more_lose_more():
    assert mul([[0, 0]], [[1, 1]], [[5, 5]]) == 10.0
    assert mul([[0, 0]], [[1, 1]]) == pytest.approx(1.0)


def test_the_bounds_take_no_table_of_all_pairs():
    import tracemalloc

    points = np.random.default_rng(0).normal(size=(1_000, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = abs(points)
    tracemalloc.start()
    assert mul(points, points - 2.0, [[0.25] * 4]) < 0
    loss = largest_loss(points, points[:800] - 2.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loss.value < 0
    assert peak < 16e6  # [800, 1000, 4] alone are 26 MB
