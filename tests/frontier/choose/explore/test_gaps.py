import numpy as np
import pytest

from frontier.choose.explore import GapFilling
from frontier.choose.explore.gaps import neighbours


def told(rewards, weights, errors=None, **settings):
    explorer = GapFilling(2, **settings)
    explorer.tell(weights, rewards, errors, unasked=True)
    return explorer


def test_halves_the_largest_box():
    # Boxes between neighbours: 0.2 x 0.1 = 0.02 and 0.8 x 0.9 = 0.72.
    explorer = told([[0, 1], [0.2, 0.9], [1, 0]], [[0, 1], [0.5, 0.5], [1, 0]])
    np.testing.assert_array_equal(explorer.ask(), [[0.75, 0.25]])


def test_bound_is_the_area_of_the_boxes():
    explorer = told([[0, 1], [0.2, 0.9], [1, 0]], [[0, 1], [0.5, 0.5], [1, 0]])
    # Above (-0.1, -0.1): 0.1 x 1.1 + 0.2 x 1.0 + 0.8 x 0.1 = 0.39.
    assert explorer.bound().value == pytest.approx(0.74 / 0.39)
    assert "share" in explorer.bound().unit


def test_on_a_line_it_spaces_evenly_and_batches_spread():
    explorer = GapFilling(2, epsilon=0)
    for _ in range(2):
        asked = explorer.ask(2)
        explorer.tell(asked, asked)
    one = explorer.ask(3)
    explorer.tell(one, one)
    explorer.tell(rest := explorer.ask(2), rest)
    weights = np.sort(explorer.measured.weights[:, 0])
    np.testing.assert_allclose(weights, np.arange(9) / 8)


def test_bound_vanishes_on_a_line_as_it_fills():
    explorer = GapFilling(2, epsilon=0.05)
    n = 0
    while not explorer.done:
        asked = explorer.ask()
        explorer.tell(asked, asked)
        n += 1
    # n - 1 equal boxes have the area 1 / (n - 1).
    assert explorer.bound().value <= 0.05
    assert 25 < n < 60


def test_a_flat_stretch_is_not_asked():
    # Between w = 0 and 0.5 nothing changes: no gap there.
    explorer = told([[0, 1], [0, 1], [1, 0]], [[0, 1], [0.5, 0.5], [1, 0]], epsilon=0)
    asked = [explorer.ask()[0] for _ in range(3)]
    assert all(w[0] > 0.5 for w in asked)


def test_points_closer_than_their_error_have_no_gap():
    weights, rewards = [[0, 1], [0.5, 0.5], [1, 0]], [[0, 1], [0.2, 0.9], [1, 0]]
    assert told(rewards, weights, np.full((3, 2), 0.3)).done  # 2 x 0.42 of error against a range of 1
    assert not told(rewards, weights, np.full((3, 2), 0.1)).done
    assert not told(rewards, weights, np.full((3, 2), 0.3), confidence=0).done


def test_stops_at_the_resolution():
    explorer = told([[0, 1], [1, 0]], [[0, 1], [1, 0]], epsilon=0, resolution=0.3)
    while not explorer.done:
        asked = explorer.ask()
        explorer.tell(asked, asked)
    assert len(explorer.measured.weights) == 5  # quarters; eighths would be closer than 0.3


def test_neighbours_of_three_weights_cover_the_simplex():
    rng = np.random.default_rng(0)
    weights = np.vstack([np.eye(3), [[0.5, 0.5, 0], [0.25, 0.75, 0]], rng.dirichlet(np.ones(3), 20)])
    cells = neighbours(weights)
    areas = [abs(np.linalg.det(weights[c])) for c in cells]  # the whole simplex has determinant 1
    assert sum(areas) == pytest.approx(1, abs=1e-9)
    assert min(areas) > 0


def test_three_objectives_start_with_the_vertices_then_the_longest_edge():
    explorer = GapFilling(3)
    np.testing.assert_array_equal(explorer.ask(5), np.eye(3))
    explorer.tell(np.eye(3), [[1, 0, 0], [0, 2, 0], [0, 0, 3]])
    asked = explorer.ask()[0]
    assert sorted(asked) == [0, 0.5, 0.5]
