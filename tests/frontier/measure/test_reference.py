import doctest
import sys
import warnings

import numpy as np
import pytest

from frontier import InputError, hypervolume
from frontier.measure import kernels
from frontier.measure.approximate import approximate_hypervolume
from frontier.measure.contributions import hypervolume_contributions
from frontier.measure.reference import as_reference_point, points_and_reference, reference_hint, warn_if_costs

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
        ([], r"must be a list of numbers, one an objective, found shape \[0\]"),
        ([[0, 0]], r"must be a list of numbers, one an objective, found shape \[1, 2\]"),
        (0.0, r"must be a list of numbers, one an objective, found shape \[\]"),
        ([10**400, 0], "reference point must be a list of numbers"),
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


def test_the_warning_points_at_the_line_that_asked():
    from frontier import FrontPoint, ParetoFront

    front = ParetoFront(("a", "b"), (FrontPoint((1.0, 2.0), (0.1, 0.1), 4),))
    for measure in (hypervolume, hypervolume_contributions, approximate_hypervolume):
        with pytest.warns(UserWarning, match="are these costs") as caught:
            measure(COSTS, NADIR)
        assert caught[0].filename == __file__
    with warnings.catch_warnings(record=True) as caught:  # however deep inside, if at all
        warnings.simplefilter("always")
        front.hypervolume(NADIR)
    assert all(each.filename == __file__ for each in caught)


def test_the_warning_names_the_front():
    with pytest.warns(UserWarning, match="^run-3: every point lies below"):
        warn_if_costs(np.array(COSTS), np.array(NADIR), "run-3")


def test_the_kernel_is_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.volume(*points_and_reference(COSTS, NADIR)) == 0.0


def test_tensors_and_masked_arrays():
    torch = pytest.importorskip("torch")
    place = as_reference_point(torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True))
    assert place.tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="reference point is not finite"):
        as_reference_point(np.ma.masked_array([1.0, 2.0], mask=[False, True]))
