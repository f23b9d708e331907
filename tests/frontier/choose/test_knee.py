import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.choose.knee import find_knee
from frontier.measure import non_dominated


def test_two_objectives_by_hand():
    # The line through (0, 1) and (1, 0): (0.8, 0.7) lies (1.5 - 1)/√2 beyond it, (0.9, 0.4) only 0.3/√2.
    found = find_knee(np.array([[0.0, 1.0], [0.8, 0.7], [0.9, 0.4], [1.0, 0.0]]))
    assert found.row == 1
    assert f"{0.5 / np.sqrt(2):.3f} beyond the line" in found.why


def test_three_objectives_by_hand():
    # The plane through the unit vectors: (0.6, 0.6, 0.6) lies 0.8/√3 beyond it.
    found = find_knee(np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.5, 0.5, 0.4], [0.6, 0.6, 0.6]]))
    assert found.row == 4
    assert f"{0.8 / np.sqrt(3):.3f} beyond the hyperplane" in found.why


@settings(deadline=None)
@given(
    st.integers(2, 4), st.integers(0, 999), st.lists(st.sampled_from([0.25, 1.0, 4.0, 1024.0]), min_size=4, max_size=4)
)
def test_units_do_not_matter(k, seed, scales):
    points = np.random.default_rng(seed).normal(size=(30, k))
    points = points[non_dominated(points)]
    # Powers of two scale without rounding, so even ties fall alike.
    assert find_knee(points * np.array(scales[:k])) == find_knee(points)


def test_offsets_do_not_matter():
    points = np.array([[0.0, 1.0], [0.8, 0.7], [0.9, 0.4], [1.0, 0.0]])
    assert find_knee(points * [3.0, 0.1] + [100.0, -7.0]).row == find_knee(points).row


def test_a_single_point():
    assert find_knee(np.array([[3.0, 4.0]])).row == 0


def test_one_objective_that_varies():
    found = find_knee(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert found.row == 1
    assert "only objective that varies" in found.why


@pytest.mark.parametrize("inner", [(0.5, 0.5), (0.4, 0.3)])  # on the line, and behind it
def test_a_front_without_a_bulge_says_so(inner):
    found = find_knee(np.array([[0.0, 1.0], inner, [1.0, 0.0]]))
    assert found.row == 1
    assert "no knee" in found.why


def test_extremes_that_span_no_hyperplane():
    # Point 0 is the best in two of the three objectives, so there are two extremes for a plane that needs three.
    found = find_knee(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.8, 0.9, 0.6]]))
    assert found.row == 2
    assert "span no hyperplane" in found.why


def test_a_hyperplane_that_leans_backwards_is_not_used():
    # Rows 0 to 2 are the extremes and span a plane, but its normal is negative in the third objective: "beyond" it would reward losing that one.
    found = find_knee(np.array([[1, 0.8, 0], [0.8, 1, 0], [0.95, 0.95, 1], [0, 0.97, 0.5], [0.97, 0, 0.5]]))
    assert found.row == 2
    assert "span no hyperplane" in found.why
