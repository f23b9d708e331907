import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, non_dominated
from frontier.measure import as_points


def by_definition(points):
    """The quadratic definition, duplicates judged by the first."""
    keep = []
    for i, p in enumerate(points):
        beaten = any((q >= p).all() and (q > p).any() for q in points)
        repeated = any((q == p).all() for q in points[:i])
        keep.append(not beaten and not repeated)
    return keep


def small_fronts():
    # Few distinct values, so that ties and duplicates are common.
    return st.integers(1, 5).flatmap(
        lambda m: st.integers(1, 25).flatmap(
            lambda n: arrays(np.float64, (n, m), elements=st.integers(-2, 2).map(float))
        )
    )


@settings(deadline=None)
@given(small_fronts())
def test_agrees_with_the_definition(points):
    assert non_dominated(points).tolist() == by_definition(points)


@pytest.mark.parametrize("m", [2, 3, 4, 7])
def test_agrees_with_the_definition_on_many_points(m):
    points = np.random.default_rng(m).integers(0, 6, (400, m)).astype(float)
    assert non_dominated(points).tolist() == by_definition(points)


def test_maximises_and_keeps_the_first_of_equals():
    assert non_dominated([[0, 0], [2, 1], [1, 2], [2, 1]]).tolist() == [False, True, True, False]


def test_negative_zero_equals_zero():
    assert non_dominated([[-0.0, 1.0], [0.0, 1.0]]).tolist() == [True, False]


def test_empty_set():
    assert non_dominated([]).tolist() == []
    assert non_dominated(np.zeros((0, 3))).tolist() == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 2])
def test_refuses_what_is_not_finite_and_names_the_row(bad, row):
    points = np.zeros((4, 2))
    points[row, 1] = bad
    with pytest.raises(InputError, match=f"row {row} of the points is not finite"):
        non_dominated(points)


@pytest.mark.parametrize("bad", [[1.0, 2.0], 3.0, [[1, 2], [3]], [["a", "b"]], np.zeros((2, 2, 2)), np.zeros((3, 0))])
def test_refuses_what_is_no_table(bad):
    with pytest.raises(InputError, match="table"):
        non_dominated(bad)


def test_as_points_counts_columns():
    with pytest.raises(InputError, match="weights must have 3 columns, found 2"):
        as_points([[1, 2]], "weights", 3)


def test_as_points_does_not_alias_its_input():
    given_ = np.zeros((2, 2))
    as_points(given_)[0, 0] = 5.0
    assert given_[0, 0] == 0.0
