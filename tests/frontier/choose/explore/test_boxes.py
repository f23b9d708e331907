import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.choose.explore.boxes import undominated_boxes
from frontier.measure import hypervolume


@pytest.mark.filterwarnings("ignore:every point lies below")
@settings(deadline=None, max_examples=60)
@given(st.integers(2, 4), st.integers(0, 12), st.integers(0, 10_000), st.booleans())
def test_improvement_is_the_difference_of_hypervolumes(count, n, seed, ties):
    rng = np.random.default_rng(seed)
    points, new = rng.random((n, count)), rng.random((10, count))
    if ties:
        points, new = np.round(points * 3) / 3, np.round(new * 3) / 3
    place = np.full(count, 0.1)  # some points lie below it
    before = hypervolume(points, place)
    expected = [hypervolume(np.vstack([points, y]), place) - before for y in new]
    np.testing.assert_allclose(undominated_boxes(points, place).improvement(new), expected, atol=1e-12)


def test_by_hand():
    boxes = undominated_boxes(np.array([[1.0, 3], [2, 2]]), np.zeros(2))
    # (3, 2.5) adds 3 x 2.5 less what is there: 1 x 2.5 + 1 x 2.
    assert boxes.improvement(np.array([[3, 2.5]]))[0] == pytest.approx(3.0)


@pytest.mark.parametrize("count", [2, 3])
def test_expected_improvement_agrees_with_draws(count):
    rng = np.random.default_rng(0)
    boxes = undominated_boxes(rng.random((8, count)), np.zeros(count))
    mean, deviation = rng.random((3, count)), rng.uniform(0.05, 0.3, (3, count))
    exact = boxes.expected_improvement(mean, deviation)
    drawn = mean[:, None] + deviation[:, None] * rng.standard_normal((3, 100_000, count))
    for i in range(3):
        assert exact[i] == pytest.approx(boxes.improvement(drawn[i]).mean(), rel=0.03, abs=1e-4)


def test_without_doubt_the_expectation_is_the_improvement():
    rng = np.random.default_rng(1)
    boxes, new = undominated_boxes(rng.random((8, 3)), np.zeros(3)), rng.random((5, 3))
    np.testing.assert_allclose(boxes.expected_improvement(new, np.zeros((5, 3))), boxes.improvement(new), atol=1e-12)
