import numpy as np
import pytest

from frontier import FrontPoint, ParetoFront
from frontier.plot.interactive.advantage import advantage, advantage_figure
from frontier.plot.simplex import even_weights
from frontier.plot.view import view_of


def front(*rewards):
    names = ("a", "b", "c", "d")[: len(rewards[0])]
    return ParetoFront(names, tuple(FrontPoint(r, [np.nan] * len(r), 1) for r in rewards))


def test_hand_computed():
    # A has (1, 0), B has (0, 1): at weight w of the first the difference is w - (1 - w).
    weights, difference = advantage(view_of({"A": front((1, 0)), "B": front((0, 1))}))
    np.testing.assert_allclose(difference, 2 * weights[:, 0] - 1)


def test_swapping_the_fronts_turns_the_sign():
    one, other = front((1, 0, 0.2), (0, 1, 0)), front((0.5, 0.5, 0.5))
    _, there = advantage(view_of({"A": one, "B": other}))
    _, back = advantage(view_of({"A": other, "B": one}))
    np.testing.assert_allclose(there, -back)


@pytest.mark.parametrize(("count", "most"), [(2, 201), (3, 325), (4, 101), (8, 101), (12, 10)])
def test_even_weights_keep_to_their_number(count, most):
    weights = even_weights(count, most)
    assert count <= len(weights) <= max(most, count)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert len(even_weights(2, 201)) == 201


def test_figures():
    assert advantage_figure(view_of({"A": front((1, 0, 0, 0)), "B": front((0, 1, 0, 0))})) is None
    curve = advantage_figure(view_of({"A": front((1, 0)), "B": front((0, 1))}))
    better, worse = (t for t in curve.data if t.name == "better")
    assert min(better.y) == 0
    assert max(worse.y) == 0
    assert worse.fillpattern.shape == "/"  # told apart without colour
    assert better.fillpattern.shape is None
    three = advantage_figure(view_of({"<A>": front((1, 0, 0)), "B": front((0, 1, 0))}))
    first, second, tied = three.data
    assert len(first.x) == len(second.x)  # the two mirror each other
    assert len(first.x) + len(second.x) + len(tied.x) == 325
    assert all("&lt;A&gt; is better" in text for text in first.hovertext)
