import numpy as np
import pytest

from frontier.choose.explore import LinearSupport, corner_weights
from frontier.errors import InputError


def run(vertices, epsilon=0.0, limit=300):
    explorer = LinearSupport(vertices.shape[1], epsilon=epsilon)
    for _ in range(limit):
        if explorer.done:
            break
        asked = explorer.ask()
        explorer.tell(asked, vertices[(asked @ vertices.T).argmax(axis=1)])
    return explorer


def test_corner_weights_by_hand():
    # 4 w = 3 w + 2 (1 - w) at w = 2/3; 3 w + 2 (1 - w) = 3 (1 - w) at w = 1/4. (1, 1) is best nowhere.
    corners = corner_weights(np.array([[4.0, 0], [3, 2], [0, 3], [1, 1]]))
    np.testing.assert_allclose(corners, [[0, 1], [1 / 4, 3 / 4], [2 / 3, 1 / 3], [1, 0]], atol=1e-8)


def test_bound_by_hand():
    explorer = LinearSupport(2)
    explorer.tell([[1, 0], [0, 1]], [[4, 0], [0, 2]], unasked=True)
    np.testing.assert_allclose(explorer.ask(), [[1 / 3, 2 / 3]], atol=1e-8)
    assert explorer.bound().value == pytest.approx(4 / 3)  # (4, 2) gives 8/3, what is there 4/3
    # (3, 1) is found there, with utility 5/3: what is left is the corners of the new envelope.
    explorer.tell(explorer.pending, [[3, 1]])
    # At (1/2, 1/2), between (4, 0) and (3, 1): 4 of v1 and v1 / 3 + 2 v2 / 3 <= 5/3 allow (4, 1/2), 2.25 against 2.
    # At (1/4, 3/4), between (0, 2) and (3, 1): v2 <= 2 allows (1, 2), 1.75 against 1.5.
    assert explorer.bound().value == pytest.approx(0.25)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_finds_the_whole_convex_coverage_set(count, seed):
    rng = np.random.default_rng(seed)
    directions = np.abs(rng.normal(size=(20, count)))
    vertices = directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.7, 1, (20, 1))
    explorer = run(vertices)
    assert explorer.done
    assert explorer.bound().value == 0
    users = rng.dirichlet(np.ones(count), 20_000)
    best = (users @ vertices.T).max(axis=1)
    np.testing.assert_allclose((users @ explorer.measured.rewards.T).max(axis=1), best, rtol=1e-9)


def test_bound_holds_at_every_step():
    rng = np.random.default_rng(3)
    directions = np.abs(rng.normal(size=(40, 3)))
    vertices = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    users = rng.dirichlet(np.ones(3), 5000)
    explorer = LinearSupport(3, epsilon=0.01)
    bounds = []
    while not explorer.done:
        asked = explorer.ask()
        explorer.tell(asked, vertices[(asked @ vertices.T).argmax(axis=1)])
        left = (users @ vertices.T).max(axis=1) - (users @ explorer.measured.rewards.T).max(axis=1)
        assert left.max() <= explorer.bound().value + 1e-7
        bounds.append(explorer.bound().value)
    assert bounds[-1] <= 0.01
    assert (np.diff(bounds[2:]) <= 1e-7).all()


def test_finds_nothing_of_a_concave_part():
    # (0.4, 0.4) lies below the line between the extremes: no linear utility wants it.
    explorer = run(np.array([[1.0, 0], [0, 1], [0.4, 0.4]]))
    assert not (explorer.measured.rewards == 0.4).any()


def test_stops_when_the_errors_explain_the_rest():
    def told(error):
        explorer = LinearSupport(2, epsilon=0.01)
        explorer.tell([[1, 0], [0, 1]], [[4, 0], [0, 2]], np.full((2, 2), error), unasked=True)
        return explorer

    assert told(1.0).done  # 2 x √(1/9 + 4/9) = 1.49 against 1.33
    # At (1/3, 2/3) with an error of 0.1 in both: 1.3333 - 0.2 √(5/9).
    assert told(0.1).bound().value == pytest.approx(4 / 3 - 0.2 * np.sqrt(5 / 9))


def test_offset_and_scale_of_the_rewards_move_the_bound_only_by_scale():
    rewards = np.array([[4.0, 0], [0, 2]])
    bounds = []
    for moved in (rewards, 1000 * rewards, rewards + np.array([-50.0, 70.0])):
        explorer = LinearSupport(2)
        explorer.tell([[1, 0], [0, 1]], moved, unasked=True)
        bounds.append(explorer.bound().value)
    assert bounds[1] == pytest.approx(1000 * bounds[0])
    # (-46, 70) and (-50, 72): the corner is where it was, and (-46, 72) still possible there.
    assert bounds[2] == pytest.approx(bounds[0])


@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1e5, 1), (1e9, 1), (0, 1e-9), (0, 1e9)])
def test_a_quarter_circle_is_found_at_any_offset_and_scale(offset, scale):
    explorer = LinearSupport(2, epsilon=0.01 * scale)
    for _ in range(30):
        if explorer.done:
            break
        asked = explorer.ask()
        explorer.tell(asked, scale * asked / np.linalg.norm(asked, axis=1, keepdims=True) + offset)
    assert explorer.done
    w = np.linspace(0, 1, 1001)
    users = np.column_stack([w, 1 - w])
    lost = np.linalg.norm(users, axis=1) - (users @ (explorer.measured.rewards - offset).T).max(axis=1) / scale
    assert 0.001 < lost.max() <= explorer.bound().value / scale + 1e-6
    assert len(explorer.measured.weights) == 9


@pytest.mark.parametrize(("ratio", "refused"), [(1e4, False), (1e6, True), (1e9, True)])
def test_ranges_that_differ_too_much_are_refused_not_called_done(ratio, refused):
    explorer = LinearSupport(2)
    explorer.tell([[1, 0], [0, 1]], [[ratio, 0], [0, 1]], unasked=True)
    if refused:
        with pytest.raises(InputError, match="normalise the rewards first"):
            explorer.ask()
    else:
        # (ratio, 1) is possible at w = 1 / (1 + ratio), where it is worth twice what is there.
        assert explorer.bound().value == pytest.approx(ratio / (ratio + 1), rel=1e-4)


def test_a_reward_that_differs_by_rounding_is_constant():
    explorer = LinearSupport(2)
    explorer.tell([[1, 0], [0, 1]], [[1, 0.3], [0, 0.1 + 0.2]], unasked=True)
    assert explorer.done


def test_refuses_soups():
    with pytest.raises(InputError, match="one weight for each objective"):
        LinearSupport(5, 2)
