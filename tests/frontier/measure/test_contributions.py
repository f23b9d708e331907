import doctest
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, hypervolume
from frontier.measure import contributions
from frontier.measure.contributions import hypervolume_contributions


def left_out(points, place):
    """The definition."""
    whole = hypervolume(points, place)
    return np.array([whole - hypervolume(np.delete(points, i, axis=0), place) for i in range(len(points))])


def coarse_fronts():
    # Few values: ties, duplicates, points on and below the reference, dominated points that a single one dominates.
    return st.integers(1, 5).flatmap(
        lambda m: st.integers(1, 10).flatmap(
            lambda n: arrays(np.float64, (n, m), elements=st.integers(-1, 4).map(float))
        )
    )


def test_examples_run():
    assert doctest.testmod(sys.modules["frontier.measure.contributions"]).failed == 0


def test_by_hand():
    # A staircase: each corner is a square of side 1.
    points = [[3, 1], [2, 2], [1, 3]]
    assert hypervolume_contributions(points, [0, 0]).tolist() == [1.0, 1.0, 1.0]
    # Without (2, 2), the square from (1, 1) to (1.5, 1.5) stays covered by (1.5, 1.5).
    assert hypervolume_contributions([*points, [1.5, 1.5]], [0, 0]).tolist() == [1.0, 0.75, 1.0, 0.0]


def test_equal_points_add_nothing_each():
    assert hypervolume_contributions([[2, 2], [2, 2], [1, 3]], [0, 0]).tolist() == [0.0, 0.0, 1.0]


def test_one_objective():
    assert hypervolume_contributions([[1], [4], [3]], [0.5]).tolist() == [0.0, 1.0, 0.0]
    assert hypervolume_contributions([[4]], [0.5]).tolist() == [3.5]


def test_nothing_above_the_reference():
    assert hypervolume_contributions([], [0, 0]).tolist() == []
    assert hypervolume_contributions([[1, 0], [2, -1]], [0, 0]).tolist() == [0.0, 0.0]


@pytest.mark.filterwarnings("ignore:every point lies below")
@settings(deadline=None)
@given(coarse_fronts())
def test_agrees_with_leaving_one_out(points):
    place = np.zeros(points.shape[1])
    got = hypervolume_contributions(points, place)
    assert got == pytest.approx(left_out(points, place), abs=1e-9)
    assert got.sum() <= hypervolume(points, place) + 1e-9


@pytest.mark.parametrize("m", range(1, 8))
@pytest.mark.parametrize("shape", ["front", "cloud"])
def test_agrees_on_many_points(m, shape):
    generator = np.random.default_rng(m)
    points = np.abs(generator.normal(size=(30, m)))
    if shape == "front":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    expected = left_out(points, np.zeros(m))
    # 1e-10 of the hypervolume: the differences themselves lose digits.
    scale = hypervolume(points, np.zeros(m))
    assert hypervolume_contributions(points, np.zeros(m)) == pytest.approx(expected, rel=1e-10, abs=1e-10 * scale)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_small_units_are_not_taken_for_zero(m):
    # moocore's differences of hypervolumes count as 0 below 1.5e-8, whatever the units.
    points = np.abs(np.random.default_rng(m).normal(size=(12, m)))
    unit = hypervolume_contributions(points, np.zeros(m))
    assert unit.max() > 0
    assert hypervolume_contributions(1e-4 * points, np.zeros(m)) == pytest.approx(1e-4**m * unit, rel=1e-9)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_agrees_with_moocore_where_nothing_is_dominated(m):
    import moocore

    points = np.abs(np.random.default_rng(m).normal(size=(40, m)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    expected = moocore.hv_contributions(points, ref=0, maximise=True)
    assert hypervolume_contributions(points, np.zeros(m)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_point_that_only_one_dominates_lowers_its_contribution():
    inner = [2.0, 2.0, 2.0, 2.0]
    outer = [3.0, 3.0, 3.0, 3.0]
    assert hypervolume_contributions([outer, inner], np.zeros(4)).tolist() == [81.0 - 16.0, 0.0]
    # Dominated by two, it never comes to light.
    got = hypervolume_contributions([outer, [4.0, 3.0, 3.0, 2.0], inner], np.zeros(4))
    assert got == pytest.approx([81 - 3 * 3 * 3 * 2, 4 * 3 * 3 * 2 - 3 * 3 * 3 * 2, 0])


def test_refuses():
    with pytest.raises(InputError, match="row 1 of the points is not finite"):
        hypervolume_contributions([[1, 2], [np.nan, 3]], [0, 0])
    with pytest.raises(InputError, match="must have 3 columns, found 2"):
        hypervolume_contributions([[1, 2]], [0, 0, 0])


@pytest.mark.parametrize(("scale", "how"), [(1e30, "large"), (1e-30, "small")])
def test_refuses_what_no_float_holds(scale, how):
    with pytest.raises(InputError, match=f"the volume is too {how} for a float"):
        hypervolume_contributions(np.random.default_rng(0).random((20, 12)) * scale, np.zeros(12))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_one_shadow_a_point(m):
    front = np.abs(np.random.default_rng(m).normal(size=(25, m)))
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    points = np.concatenate([front, front - 0.01])
    assert hypervolume_contributions(points, np.full(m, -0.5)) == pytest.approx(
        left_out(points, np.full(m, -0.5)), rel=1e-6, abs=1e-12
    )


def test_shadows_cost_a_look_at_the_neighbours(monkeypatch):
    # 100 points with a shadow each in 2 objectives: two neighbours and one shadow are all that each is held against.
    seen, real = [], contributions._exclusive
    monkeypatch.setattr(contributions, "_exclusive", lambda own, others: seen.append(len(others)) or real(own, others))
    angle = np.linspace(0.01, 1.5, 100)
    front = np.column_stack([np.cos(angle), np.sin(angle)])
    got = hypervolume_contributions(np.concatenate([front, front - 1e-6]), [-1, -1])
    assert max(seen) == 3
    assert (got[:100] > 0).all()
    assert not got[100:].any()
