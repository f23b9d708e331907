import doctest
import sys
import warnings

import numpy as np
import pytest

from frontier import InputError, hypervolume
from frontier.measure.approximate import approximate_hypervolume
from frontier.measure.contributions import hypervolume_contributions
from frontier.measure.reference import as_reference_point, reference_hint

COSTS, NADIR = [[1.0, 2.0], [2.0, 1.0]], [3.0, 3.0]


def test_examples_run():
    assert doctest.testmod(sys.modules["frontier.measure.reference"]).failed == 0


@pytest.mark.parametrize("measure", [hypervolume, hypervolume_contributions, approximate_hypervolume])
def test_costs_handed_in_by_mistake_are_recognised(measure):
    with pytest.warns(UserWarning, match="every point lies below the reference point.*are these costs"):
        measure(COSTS, NADIR)


@pytest.mark.parametrize("measure", [hypervolume, hypervolume_contributions, approximate_hypervolume])
@pytest.mark.parametrize("points", [[], [[1, 4]], [[4, 4], [1, 1]], [[3, 3]]])
def test_no_warning_where_it_may_be_meant(measure, points):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(points, NADIR)


def test_hint_names_the_objectives_that_never_reach_the_reference():
    assert "objective 1 reaches 0 at most, with the reference at 0.5" in reference_hint([[1, 0], [2, -1]], [0, 0.5])
    assert "objective 0" not in reference_hint([[1, 0], [2, -1]], [0, 0.5])


def test_hint_when_each_objective_is_reached_by_some_point():
    assert "each point falls short in some objective" in reference_hint([[1, -1], [-1, 1]], [0, 0])


@pytest.mark.parametrize("points", [[], [[1, 1]], [[1, 1], [-1, -1]]])
def test_no_hint_where_there_is_nothing_to_explain(points):
    assert reference_hint(points, [0, 0]) is None


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ([0, np.nan], "reference point is not finite"),
        ([0, np.inf], "reference point is not finite"),
        ([], "reference point must form a table"),
        ([[0, 0]], "reference point must form a table"),
        (0.0, "reference point must form a table"),
        (["a", "b"], "reference point must be a list of numbers"),
    ],
)
def test_refuses(place, message):
    with pytest.raises(InputError, match=message):
        as_reference_point(place)


def test_a_wrong_size_names_both_sides():
    with pytest.raises(InputError, match="must have 3 columns, found 2: the reference point has 3 values"):
        reference_hint([[1, 2]], [0, 0, 0])


def test_a_large_reference_point_is_finite():
    assert as_reference_point([1e200, -1e200]).tolist() == [1e200, -1e200]  # their squares are not
