import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import FrontPoint, InputError, ParetoFront, common_reference_point, hypervolume

NAMES = ("helpful", "brief")


def point(rewards, w=None, **more):
    asked = None if w is None else {"weights": dict(zip(NAMES, w, strict=True))}
    return FrontPoint(rewards, (0.1,) * len(rewards), 64, asked, **more)


@pytest.fixture
def front():
    points = (
        point((0.0, 2.0), (0.0, 1.0), kl=0.5, source="bundle"),
        point((1.2, 1.5), (0.5, 0.5), kl=0.7, extra={"sample": "Sure."}),
        point((1.0, 1.0), (0.75, 0.25)),
        point((2.0, 0.0), (1.0, 0.0)),
    )
    return ParetoFront(
        NAMES, points, point((0.1, 0.1)), {"helpful": {"location": 0.0, "scale": 1.5}}, {"prompts": "held out"}
    )


# ---- what it holds


def test_arrays(front):
    assert front.rewards.shape == front.standard_errors.shape == (4, 2)
    assert front.rewards[1].tolist() == [1.2, 1.5]
    assert front.weights.tolist() == [[0.0, 1.0], [0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]


def test_weights_are_in_objective_order_and_left_out_ones_are_zero():
    points = (
        FrontPoint((1, 2), (0, 0), 8, {"weights": {"brief": 0.7, "helpful": 0.3}}),
        FrontPoint((1, 2), (0, 0), 8, {"weights": {"brief": 1.0}}),
        FrontPoint((1, 2), (0, 0), 8, {"direction": {"brief": 1.0}}),
        FrontPoint((1, 2), (0, 0), 8),
    )
    weights = ParetoFront(NAMES, points).weights
    assert weights[:2].tolist() == [[0.3, 0.7], [0.0, 1.0]]
    assert np.isnan(weights[2:]).all()


def test_numpy_values_become_plain_numbers():
    p = FrontPoint(np.array([1, 2]), np.float32([0.5, 0.25]), np.int64(3), kl=np.float64(1.0))
    assert p.rewards == (1.0, 2.0)
    assert json.dumps(dataclasses.asdict(p))


def test_non_dominated_keeps_everything_else(front):
    best = front.non_dominated()
    assert best.points == (front.points[0], front.points[1], front.points[3])
    assert (best.reference_policy, best.normalizer, best.info) == (front.reference_policy, front.normalizer, front.info)


# ---- figures


def test_hypervolume_carries_what_it_refers_to(front):
    got = front.hypervolume((0, 0))
    # The column 0..1.2 is 1.5 high; the two extremes lie on the axes of the reference point.
    assert got.value == pytest.approx(1.8)
    assert got.reference_point == (0.0, 0.0)
    assert got.normalizer == front.normalizer
    assert got.n_prompts == 64


def test_hypervolume_reports_the_fewest_prompts():
    mixed = ParetoFront(NAMES, (FrontPoint((1, 0), (0, 0), 64), FrontPoint((0, 1), (0, 0), 8)))
    assert mixed.hypervolume().n_prompts == 8


def test_default_reference_point_counts_the_reference_policy():
    lone = ParetoFront(NAMES, (point((1.0, 1.0)), point((2.0, 0.5))), point((0.0, 0.0)))
    got = lone.hypervolume()
    assert got.reference_point == pytest.approx((-0.2, -0.1))
    assert got.value == pytest.approx(hypervolume(lone.rewards, [-0.2, -0.1]))


def test_common_reference_point_covers_all_fronts(front):
    worse = ParetoFront(NAMES, (point((-1.0, 0.5)), point((0.5, -3.0))))
    place = common_reference_point(front, worse)
    assert place == pytest.approx([-1.0 - 0.3, -3.0 - 0.5])
    assert common_reference_point(worse, front).tolist() == place.tolist()


def test_common_reference_point_refuses_other_objectives(front):
    swapped = ParetoFront(NAMES[::-1], (point((1.0, 1.0)),))
    with pytest.raises(InputError, match="same objectives in the same order"):
        common_reference_point(front, swapped)
    with pytest.raises(InputError, match="at least one front"):
        common_reference_point()


def test_eum_mip_and_gap(front):
    # Own points: 2.0, 1.35, 1.0, 2.0. Only w = (.75, .25) had a better one: max(0.5, 1.275, 1.0, 1.5).
    assert front.mip() == pytest.approx((2.0 + 1.35 + 1.0 + 2.0) / 4)
    assert front.eum() == pytest.approx((2.0 + 1.35 + 1.5 + 2.0) / 4)
    assert front.controllability_gap() == pytest.approx(0.5 / 4)
    assert front.eum([[1.0, 0.0]]) == 2.0


def test_points_without_weights_count_for_eum_only(front):
    more = dataclasses.replace(front, points=(*front.points, point((3.0, 3.0))))
    assert more.mip() == front.mip()
    assert more.eum() > front.eum()


def test_steering(front):
    # Helpful: rewards 0, 1.2, 1.0, 2.0 at rising weights, one neighbour swapped: 0.8. Brief: in order.
    assert front.steering() == pytest.approx({"helpful": 0.8, "brief": 1.0})


def test_figures_of_steering_need_weights():
    bare = ParetoFront(NAMES, (point((1.0, 1.0)),))
    for figure in (bare.eum, bare.mip, bare.controllability_gap, bare.steering):
        with pytest.raises(InputError, match="no point of the front has weights"):
            figure()
    assert bare.eum([[0.5, 0.5]]) == 1.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(0, 1)), min_size=1, max_size=9))
def test_gap_is_never_negative(rows):
    front = ParetoFront(NAMES, tuple(point((a, b), (w, 1 - w)) for a, b, w in rows))
    assert 0 <= front.controllability_gap() == pytest.approx(front.eum() - front.mip(), abs=1e-12)


# ---- tables


def test_table(front):
    lines = front.table().splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[0].split() == ["#", "w(helpful)", "w(brief)", "helpful", "brief", "KL", "prompts", "source"]
    assert [line.startswith("*") for line in lines[1:]] == [True, True, False, True, False]
    assert "1.200 ± 0.100" in lines[2]
    assert lines[-1].split()[0] == "ref"
    ends = {line.index("±", 40) for line in lines[1:]}
    assert len(ends) == 1  # aligned


def test_to_frame(front):
    frame = front.to_frame()
    assert frame["weight.helpful"].tolist() == [0.0, 0.5, 0.75, 1.0]
    assert frame["brief"].tolist() == [2.0, 1.5, 1.0, 0.0]
    assert frame["brief.se"].tolist() == [0.1] * 4
    assert frame["non_dominated"].tolist() == [True, True, False, True]
    assert frame["kl"].isna().tolist() == [False, False, True, True]


# ---- files


def test_round_trip(front, tmp_path):
    path = front.save(tmp_path / "new" / "front.json")
    assert ParetoFront.load(path) == front
    assert [p.name for p in path.parent.iterdir()] == ["front.json"]  # nothing left beside it


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_floats_come_back_bit_for_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("front") / "front.json"
    back = ParetoFront.load(ParetoFront(NAMES, (point(tuple(values)),)).save(path))
    assert [v.hex() for v in back.points[0].rewards] == [v.hex() for v in values]


def test_unknown_standard_error_survives(tmp_path):
    path = ParetoFront(NAMES, (FrontPoint((1, 2), (math.nan, 0.5), 1),)).save(tmp_path / "f.json")
    assert "NaN" not in path.read_text()
    error = ParetoFront.load(path).points[0].standard_error
    assert math.isnan(error[0])
    assert error[1] == 0.5


def test_a_failed_save_leaves_the_old_file(front, tmp_path):
    path = front.save(tmp_path / "front.json")
    before = path.read_text()
    with pytest.raises(InputError, match=r"front\.json.*can't be written"):
        dataclasses.replace(front, info={"x": math.nan}).save(path)
    with pytest.raises(InputError, match="can't be written"):
        dataclasses.replace(front, info={"x": object()}).save(path)
    assert path.read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


def _without(key):
    return lambda d: d.pop(key)


def _set(*path_and_value):
    def change(d):
        *path, last, value = path_and_value
        for key in path:
            d = d[key]
        d[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("schema", "other"), r"field schema must be 'frontier\.ParetoFront', found 'other'"),
        (_set("schema_version", 3), "field schema_version must be 1 or 2, found 3"),
        (_without("points"), "field points is missing"),
        (_set("pionts", []), "unknown field of the front 'pionts': did you mean 'points'"),
        (lambda d: d["points"][2].pop("rewards"), r"field points\[2\]\.rewards is missing"),
        (_set("points", 1, "rewards", [1.0]), r"points\[1\].*one value per reward"),
        (_set("points", 1, "rewards", [1.0, None]), r"points\[1\].*rewards must hold numbers, found None"),
        (_set("points", 3, "rewards", [1.0, math.nan]), "NaN"),
        (_set("points", 3, "n_prompts", 0), r"points\[3\].*n_prompts must be a whole number"),
        (_set("points", 3, "n_prompts", 2.5), r"points\[3\].*n_prompts must be a whole number"),
        (_set("points", 0, "preference", {"weights": {"helpfull": 1.0}}), r"points\[0\].*did you mean 'helpful'"),
        (_set("points", 0, "preference", {"weights": [1.0]}), r"points\[0\].*must map objectives to numbers"),
        (_set("points", []), "points must hold at least one point"),
        (_set("points", "none"), "points must be a list"),
        (_set("points", [3]), r"points\[0\] must be an object with the fields"),
        (_set("objectives", ["helpful", "helpful"]), "names that differ"),
        (_set("objectives", "helpful"), "objectives must be a list"),
        (_set("reference_policy", {}), r"field reference_policy\.rewards is missing"),
        (_set("reference_policy", "kl", "much"), "kl must hold numbers"),
    ],
)
def test_load_refuses_and_says_where(front, tmp_path, change, message):
    path = front.save(tmp_path / "front.json")
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message) as error:
        ParetoFront.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_load_refuses_what_is_no_front(tmp_path, text):
    path = tmp_path / "front.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=r"front\.json"):
        ParetoFront.load(path)
    with pytest.raises(InputError, match=r"missing\.json"):
        ParetoFront.load(tmp_path / "missing.json")


# ---- refusals at construction


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FrontPoint((1, math.nan), (0, 0), 1), "rewards must be finite"),
        (lambda: FrontPoint((1, 2), (0, -1), 1), "standard_error must be at least 0"),
        (lambda: FrontPoint((1, 2), (0, math.inf), 1), "standard_error must be at least 0"),
        (lambda: FrontPoint((1, 2), (0,), 1), "one value per reward"),
        (lambda: FrontPoint((1, 2), (0, 0), 0), "n_prompts"),
        (lambda: FrontPoint((1, 2), (0, 0), True), "n_prompts"),
        (lambda: FrontPoint((1, 2), (0, 0), 1, kl=math.inf), "kl must be finite"),
        (lambda: FrontPoint((1, 2), (0, 0), 1, preference="helpful=1"), "preference must be a mapping"),
        (lambda: FrontPoint(("1", 2), (0, 0), 1), "rewards must hold numbers, found '1'"),
        (lambda: FrontPoint(3.0, (0, 0), 1), "rewards must be a list"),
        (lambda: ParetoFront((), (point((1.0, 1.0)),)), "objectives must be names"),
        (lambda: ParetoFront(NAMES, ()), "at least one point"),
        (lambda: ParetoFront(NAMES, (point((1.0, 1.0)), point((1.0,)))), r"points\[1\]\.rewards must have one value"),
        (lambda: ParetoFront(NAMES, (point((1.0, 1.0)),), point((1.0,))), "reference_policy.rewards"),
        (lambda: ParetoFront(NAMES, (point((1.0, 1.0), (math.nan, 1)),)), "weights must be finite"),
    ],
)
def test_refuses(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_frozen(front):
    with pytest.raises(dataclasses.FrozenInstanceError):
        front.points = ()
