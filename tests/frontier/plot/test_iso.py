import math

import numpy as np
import pytest

from frontier import InputError
from frontier.plot.iso import iso_utility

REWARDS = np.array([[0.0, 1.0], [0.8, 0.7], [1.0, 0.0]])


def test_by_hand():
    found = iso_utility(REWARDS, ("helpful", "brief"), {"helpful": 3, "brief": 1})
    assert found.weights == (0.75, 0.25)
    assert found.index == 1
    assert found.utility == pytest.approx(0.775)  # 0.75 · 0.8 + 0.25 · 0.7, against 0.25 and 0.75
    assert found.text(("helpful", "brief")) == "helpful 0.75, brief 0.25"


def test_a_left_out_objective_has_no_weight():
    found = iso_utility(REWARDS, ("helpful", "brief"), {"brief": 0.2})
    assert (found.weights, found.index) == ((0.0, 1.0), 0)
    assert found.text(("helpful", "brief")) == "brief 1.00"


def test_of_equals_the_first():
    assert iso_utility(np.ones((3, 2)), ("a", "b"), {"a": 1}).index == 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"helpfull": 1}, "unknown objective in iso 'helpfull': did you mean 'helpful'"),
        ({"helpful": -0.1, "brief": 1}, "iso weight of helpful must be a number of at least 0, found -0.1"),
        ({"helpful": math.nan}, "found nan"),
        ({"helpful": math.inf}, "found inf"),
        ({"helpful": "1"}, "found '1'"),
        ({"helpful": None}, "found None"),
        ({"helpful": 0.0}, "a weight above 0 for one of helpful, brief"),
    ],
)
def test_refuses(weights, message):
    with pytest.raises(InputError, match=message):
        iso_utility(REWARDS, ("helpful", "brief"), weights)
