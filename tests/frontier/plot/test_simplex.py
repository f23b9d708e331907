import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier.plot.simplex import CORNERS, best_regions, triangle_places


def area(corners):
    x, y = triangle_places(corners).T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_places():
    np.testing.assert_allclose(triangle_places(np.eye(3) * 7), CORNERS)
    np.testing.assert_allclose(triangle_places(np.ones((1, 3))), [[0.5, np.sqrt(3) / 6]])


def test_three_specialists_share_the_triangle_in_three():
    regions = best_regions(np.eye(3))
    assert [index for index, _ in regions] == [0, 1, 2]
    for index, corners in regions:
        assert area(corners) == pytest.approx(np.sqrt(3) / 4 / 3)
        assert (corners[:, index] >= corners.max(axis=1) - 1e-12).all()


def test_dominated_and_repeated_points_and_those_in_a_dent_have_none():
    rewards = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1], [0.2, 0.2, 0.2]], dtype=float)
    assert [index for index, _ in best_regions(rewards)] == [0, 2, 3]


def test_one_point_has_all():
    ((index, corners),) = best_regions(np.array([[0.3, 0.1, 0.2]] * 4))
    assert index == 0
    assert area(corners) == pytest.approx(np.sqrt(3) / 4)


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(-5, 5, width=16)),
    st.floats(0.01, 1e6),
)
def test_regions_fill_the_triangle_and_hold_where_they_say(rewards, scale):
    regions = best_regions(rewards * scale)
    assert sum(area(corners) for _, corners in regions) == pytest.approx(np.sqrt(3) / 4, rel=1e-5)
    for index, corners in regions:
        middle = rewards @ corners.mean(axis=0)
        assert middle[index] >= middle.max() - 1e-9
