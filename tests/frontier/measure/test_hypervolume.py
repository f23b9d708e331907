import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier import InputError, hypervolume, non_dominated, reference_point

PUBLISHED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "pareto_reference" / "reference.json"
NAMES = [front["name"] for front in json.loads(PUBLISHED.read_text())["hypervolume"]] if PUBLISHED.exists() else []


def fronts(most=4, least=1):
    value = st.floats(-10, 10, allow_subnormal=False).map(lambda v: round(v, 6))
    return st.integers(least, most).flatmap(
        lambda m: st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, m), elements=value))
    )


def close(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


# ---- by hand


def test_one_box():
    assert hypervolume([[2.0, 3.0, 4.0]], [1.0, 1.0, 2.0]) == 1 * 2 * 2


def test_two_overlapping_boxes():
    assert hypervolume([[1, 3], [2, 2]], [0, 0]) == 3 + 4 - 2


def test_one_objective():
    assert hypervolume([[1.0], [4.0]], [0.5]) == 3.5


def test_points_not_above_the_reference_add_nothing():
    # (5, 0) lies on the reference in one objective, (9, -1) below it: neither may add or take away anything.
    assert hypervolume([[1, 1], [5, 0], [9, -1]], [0, 0]) == 1.0
    assert hypervolume([[5, 0]], [0, 0]) == 0.0


def test_empty_set():
    assert hypervolume([], [0, 0]) == 0.0
    assert hypervolume(np.zeros((0, 2)), [0, 0]) == 0.0


# ---- published values and another implementation


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"the published fronts are not there: {PUBLISHED}")
@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("analytic")] or ["none"])
def test_published_fronts(name):
    front = next(f for f in json.loads(PUBLISHED.read_text())["hypervolume"] if f["name"] == name)
    points = np.array(front["points"] if "points" in front else np.loadtxt(PUBLISHED.parent / front["file"], ndmin=2))
    reference = np.array(front["ref"])
    assert points.shape == (front["n"], front["m"])
    if not front["maximise"]:
        points, reference = -points, -reference
    expected = front["hv_expected"] if front["hv_expected"] is not None else front["hv_recomputed_moocore"]
    # One published value is rounded to 9 digits.
    assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-10)


def simplex_lattice(m, parts):
    def rows(m, left):
        return [[left]] if m == 1 else [[i, *r] for i in range(left + 1) for r in rows(m - 1, left - i)]

    return np.array(rows(m, parts)) / parts


LINE = np.linspace(0, 1, 4001)
ANALYTIC = {  # minimised fronts below the reference (1, ..., 1): points and exact hypervolume
    "zdt1": (np.stack([LINE, 1 - np.sqrt(LINE)], 1), 2 / 3, 1e-3),
    "zdt2": (np.stack([LINE, 1 - LINE**2], 1), 1 / 3, 1e-3),
    "linear m=2": (simplex_lattice(2, 2000), 1 - 1 / 2, 1e-3),
    "linear m=3": (simplex_lattice(3, 150), 1 - 1 / 6, 1e-2),
    "sphere m=2": (np.stack([np.cos(LINE * np.pi / 2), np.sin(LINE * np.pi / 2)], 1), 1 - math.pi / 4, 1e-3),
    "sphere m=3": (
        simplex_lattice(3, 150) / np.linalg.norm(simplex_lattice(3, 150), axis=1, keepdims=True),
        1 - math.pi / 6,
        2e-2,
    ),
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_analytic_fronts_are_approached_from_below(name):
    points, exact, tolerance = ANALYTIC[name]
    value = hypervolume(-points, -np.ones(points.shape[1]))
    assert exact - tolerance < value < exact


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_pymoo(m, seed):
    from pymoo.indicators.hv import HV

    points = np.random.default_rng([m, seed]).normal(size=(20, m))
    place = reference_point(points)
    assert hypervolume(points, place) == pytest.approx(HV(ref_point=-place)(-points), rel=1e-10)


def shaped(shape, m):
    """A front of the shape, maximised and above 0."""
    generator = np.random.default_rng([m, len(shape)])
    simplex = generator.dirichlet(np.ones(m), 14)
    fronts = {
        "random": generator.random((14, m)),
        "linear": simplex,
        "concave": np.sqrt(simplex),
        "convex": simplex**2,
        "degenerate": np.stack([np.linspace(0.1, 1, 14), *[np.linspace(1, 0.1, 14)] * (m - 1)], axis=1),
        "duplicated": np.concatenate([simplex[:5]] * 3),
        "tied": generator.integers(1, 4, (14, m)) / 4,
        "constant": np.full((6, m), 0.5),
        "single": generator.random((1, m)),
        "empty": np.zeros((0, m)),
    }
    return fronts[shape]


SHAPES = ["random", "linear", "concave", "convex", "degenerate", "duplicated", "tied", "constant", "single", "empty"]


@pytest.mark.parametrize("m", range(1, 7))
@pytest.mark.parametrize("shape", SHAPES)
def test_three_libraries_agree(shape, m):
    import moocore
    from pymoo.indicators.hv import HV

    points, place = shaped(shape, m), np.full(m, -0.05)
    value = hypervolume(points, place)
    if shape == "empty":
        assert value == 0.0
        return
    assert value == pytest.approx(moocore.hypervolume(points, ref=place, maximise=True), rel=1e-10)
    assert value == pytest.approx(HV(ref_point=-place)(-points), rel=1e-10)
    if m > 1:
        botorch = pytest.importorskip("botorch.utils.multi_objective.hypervolume")
        import torch

        front = points[non_dominated(points)]  # botorch adds a duplicate twice
        assert value == pytest.approx(
            botorch.Hypervolume(torch.from_numpy(place)).compute(torch.from_numpy(front)), rel=1e-10
        )


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_many_points_are_sorted_and_thinned_without_a_trace(m):
    # From some hundred points on, they are sorted beforehand or their dominated ones left out.
    import moocore

    points = np.random.default_rng(m).normal(size=(600, m))
    place = np.full(m, -1.0)
    expected = moocore.hypervolume(points, ref=place, maximise=True)
    assert hypervolume(points, place) == pytest.approx(expected, rel=1e-10)
    assert hypervolume(np.asfortranarray(points), place) == pytest.approx(expected, rel=1e-10)


# ---- what must hold for any front


@settings(deadline=None)
@given(fronts(), st.randoms(use_true_random=False))
def test_order_duplicates_and_dominated_points_change_nothing(points, random):
    place = reference_point(points)
    value = hypervolume(points, place)
    order = list(range(len(points)))
    random.shuffle(order)
    assert hypervolume(points[order], place) == close(value)
    assert hypervolume(np.concatenate([points, points]), place) == close(value)
    assert hypervolume(points[non_dominated(points)], place) == close(value)


@settings(deadline=None)
@given(fronts(), st.data())
def test_never_falls_when_a_point_is_added(points, data):
    place = reference_point(points)
    extra = data.draw(arrays(np.float64, (1, points.shape[1]), elements=st.floats(-20, 20)))
    before, after = hypervolume(points, place), hypervolume(np.concatenate([points, extra]), place)
    assert after >= before * (1 - 1e-12)
    # Strictly more when the new point beats all by a margin.
    better = points.max(axis=0, keepdims=True) + 1.0
    assert hypervolume(np.concatenate([points, better]), place) > before


@settings(deadline=None)
@given(fronts(), st.floats(-5, 5), st.floats(0.1, 10))
def test_shifts_with_the_points_and_scales_with_the_units(points, shift, scale):
    place = reference_point(points)
    value, m = hypervolume(points, place), points.shape[1]
    assert hypervolume(points + shift, place + shift) == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert hypervolume(points * scale, place * scale) == pytest.approx(value * scale**m, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(fronts(most=2, least=2))
def test_swapping_objectives_changes_nothing(points):
    place = reference_point(points)
    assert hypervolume(points[:, ::-1], place[::-1]) == close(hypervolume(points, place))


# ---- the reference point


def test_reference_point_by_hand():
    # Ranges 10 and 0: a tenth of the range below the worst, a tenth of 1 where there is no range.
    assert reference_point([[0, 5], [10, 5]]).tolist() == [-1.0, 4.9]
    assert reference_point([[0, 5], [10, 5]], margin=0).tolist() == [0.0, 5.0]


@settings(deadline=None)
@given(fronts())
def test_every_point_lies_above_the_reference_point(points):
    assert (points > reference_point(points)).all()
    assert hypervolume(points, reference_point(points)) > 0


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_refuses_bad_margins(margin):
    with pytest.raises(InputError, match="margin"):
        reference_point([[1, 2]], margin)


def test_refuses_no_points_for_a_reference_point():
    with pytest.raises(InputError, match="at least one point"):
        reference_point(np.zeros((0, 2)))


@pytest.mark.parametrize(
    ("points", "place", "message"),
    [
        ([[1, 2], [math.nan, 3]], [0, 0], "row 1 of the points"),
        ([[1, 2]], [0, math.nan], "reference point is not finite"),
        ([[1, 2]], [0, 0, 0], "must have 3 columns, found 2"),
        ([[1, 2]], 0.0, "list of numbers"),
    ],
)
def test_refuses(points, place, message):
    with pytest.raises(InputError, match=message):
        hypervolume(points, place)


# ---- rounding and the ends of the floats


def test_a_range_that_is_rounding_is_none():
    noise = 0.1 + 0.2
    assert noise != 0.3
    place = reference_point([[0, 0.3], [10, noise]])
    assert place == pytest.approx([-1.0, 0.2])
    assert hypervolume([[0, 0.3], [10, noise]], place) == pytest.approx(11 * 0.1)
    # A range of 1e-9 is one.
    assert reference_point([[0.3], [0.3 + 1e-9]])[0] == pytest.approx(0.3 - 1e-10, abs=1e-12)


def test_a_volume_that_no_float_holds_is_refused():
    points = np.random.default_rng(0).random((20, 12)) * 1e30
    for rows in (points, points[:5], [[1e200, 1e200]]):
        with pytest.raises(
            InputError, match="the volume is too large for a float: divide the objectives by their scales"
        ):
            hypervolume(rows, np.zeros(np.shape(rows)[1]))
    assert hypervolume([[1e150, 1e150]], [0, 0]) == pytest.approx(1e300)
