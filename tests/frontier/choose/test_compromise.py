import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import FrontPoint, InputError, ParetoFront, pick
from frontier.choose.compromise import compromise_distance
from frontier.measure import non_dominated

NAMES = ("helpful", "safe", "brief")


def front_of(rewards):
    return ParetoFront(NAMES[: len(rewards[0])], tuple(FrontPoint(r, (0.1,) * len(r), 64) for r in rewards))


def test_distances_by_hand():
    points = [[0.0, 30.0], [4.0, 0.0], [3.0, 20.0]]
    # Gaps in ranges of 4 and 30: (1, 0), (0, 1), (1/4, 1/3).
    assert compromise_distance(points, [1, 1], 1).tolist() == pytest.approx([1, 1, 7 / 12])
    assert compromise_distance(points, [1, 1], 2).tolist() == pytest.approx([1, 1, 5 / 12])
    assert compromise_distance(points, [1, 1], math.inf).tolist() == pytest.approx([1, 1, 1 / 3])
    assert compromise_distance(points, [2, 1], 2).tolist() == pytest.approx([2, 1, math.hypot(1 / 2, 1 / 3)])


@settings(deadline=None)
@given(st.integers(1, 5), st.floats(1, 400), st.integers(0, 9999))
def test_against_the_norm_and_its_limit(k, p, seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(9, k)), rng.uniform(0.1, 2, k)
    gaps = weights * (points.max(axis=0) - points) / np.ptp(points, axis=0)
    got = compromise_distance(points, weights, p)
    largest = compromise_distance(points, weights, math.inf)
    np.testing.assert_allclose(largest, gaps.max(axis=1))
    assert (got >= largest - 1e-12).all()
    assert (got <= largest * k ** (1 / p) + 1e-12).all()
    if p < 20:
        np.testing.assert_allclose(got, np.linalg.norm(gaps, ord=p, axis=1), rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(st.integers(2, 4), st.sampled_from([1.0, 2.0, 3.5, math.inf]), st.integers(0, 9999))
def test_the_choice_is_the_nearest_and_ignores_units(k, p, seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.normal(size=(12, k)), rng.uniform(0.1, 2, k)
    named = dict(zip("abcd", weights.tolist(), strict=False))

    def front(rewards):
        return ParetoFront(tuple("abcd"[:k]), tuple(FrontPoint(tuple(r), (0.1,) * k, 9) for r in rewards))

    got = pick(front(points), compromise=named, p=p)
    kept = np.flatnonzero(non_dominated(points))
    assert got.index == kept[compromise_distance(points[kept], weights, p).argmin()]
    units = np.array([4.0, 0.5, 1024.0, 2.0])[:k]
    assert pick(front(points * units), compromise=named, p=p).index == got.index
    assert pick(front(points), compromise={n: 3 * w for n, w in named.items()}, p=p).index == got.index


def test_the_norm_decides_between_balance_and_sum():
    # Gaps: row 1 (0.4, 0.4), row 2 (0.05, 0.6).
    front = front_of([(0.0, 1.0), (0.6, 0.6), (0.95, 0.4), (1.0, 0.0)])
    assert pick(front, compromise=True, p=1).index == 2  # 0.65 against 0.8
    assert pick(front, compromise=True).index == 1  # 0.566 against 0.602
    assert pick(front, compromise=True, p=math.inf).index == 1
    assert pick(front, compromise={"helpful": 4, "safe": 1}).index == 2


def test_the_reason():
    got = pick(front_of([(0.0, 1.0), (0.6, 0.6), (1.0, 0.0)]), compromise=True, p=math.inf)
    assert (got.feasible, got.violations) == (True, {})
    assert got.reason == (
        "Point 1 is nearest to the ideal (helpful 1.000, safe 1.000, which no point reaches alone): 0.400 away by its largest weighted gap, "
        "in units of the ranges: helpful 0.600 ± 0.100, safe 0.600 ± 0.100."
    )
    assert "the weighted L3 norm" in pick(front_of([(0.0, 1.0), (1.0, 0.0)]), compromise=True, p=3).reason


def test_one_objective_alone_takes_its_best():
    got = pick(front_of([(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)]), compromise={"safe": 1})
    assert got.index == 0
    assert got.reason.startswith("Point 0 is the best on everything that counts: helpful 0.000")


def test_ties_of_the_largest_gap_go_to_the_smaller_sum():
    # Largest gaps 0.5 for both middle points; the second loses less in brief.
    front = front_of([(0, 1, 1), (1, 0, 1), (1, 1, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.75)])
    assert pick(front, compromise=True, p=math.inf, non_dominated_only=False).index == 4


def test_dominated_points_do_not_stretch_the_ranges():
    front = [(0.0, 1.0), (0.6, 0.6), (0.95, 0.4), (1.0, 0.0)]
    assert pick(front_of([*front, (-100.0, 0.9)]), compromise=True, p=1).index == 2
    # Counted, it makes every gap in helpful tiny, and safe decides.
    assert pick(front_of([*front, (-100.0, 0.9)]), compromise=True, p=1, non_dominated_only=False).index == 0


def test_not_asked_for():
    front = front_of([(0.0, 1.0), (1.0, 0.0)])
    for absent in (None, False):
        assert pick(front, maximize="safe", compromise=absent).index == 0


def test_a_single_point_and_a_constant_objective():
    assert pick(front_of([(0.3, 0.4)]), compromise=True).index == 0
    assert pick(front_of([(0.0, 1.0, 5.0), (0.6, 0.7, 5.0), (1.0, 0.0, 5.0)]), compromise=True).index == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"compromise": {"helpfull": 1}}, "unknown objective 'helpfull': did you mean 'helpful'"),
        ({"compromise": {"safe": -1}}, "compromise needs weights that are not negative"),
        ({"compromise": {}}, "not all 0"),
        ({"compromise": {"safe": math.nan}}, "compromise of safe must be a finite number"),
        ({"compromise": True, "p": 0.5}, "p must be at least 1"),
        ({"compromise": True, "p": math.nan}, "p must be at least 1"),
        ({"compromise": True, "p": True}, "p must be at least 1"),
        ({"knee": True, "p": 2}, "p is the norm of compromise"),
        ({"compromise": True, "knee": True}, "choose one way.*knee and compromise"),
        ({"compromise": True, "minimum": {"safe": 0}}, "choose one way.*compromise and minimum"),
    ],
)
def test_refuses(asked, message):
    with pytest.raises(InputError, match=message):
        pick(front_of([(0.0, 1.0), (1.0, 0.0)]), **asked)


def test_refuses_bad_points():
    with pytest.raises(InputError, match="there are no points"):
        compromise_distance([], [1.0])
    with pytest.raises(InputError, match="row 0 of the points is not finite"):
        compromise_distance([[math.nan, 1.0]], [1, 1])
    with pytest.raises(InputError, match="2 columns, found 3"):
        compromise_distance([[0.0, 1.0]], [1, 1, 1])
