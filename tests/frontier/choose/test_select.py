import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from frontier import FrontPoint, InputError, ParetoFront, pick

NAMES = ("helpful", "safe", "brief")


def front_of(rewards, error=0.1, n=64):
    return ParetoFront(NAMES[: len(rewards[0])], tuple(FrontPoint(r, (error,) * len(r), n) for r in rewards))


@pytest.fixture
def front():
    return front_of([(0.0, 1.0), (0.5, 0.9), (0.8, 0.6), (1.0, 0.0), (0.7, 0.5)])


# ---- constraints


def test_best_within_a_constraint(front):
    got = pick(front, minimum={"safe": 0.6}, maximize="helpful")
    assert (got.index, got.feasible, got.violations) == (2, True, {})
    assert got.point is front.points[2]
    assert got.reason == (
        "Among the points that satisfy safe >= 0.6, point 2 is the best on helpful: helpful 0.800 ± 0.100, safe 0.600 ± 0.100."
    )


def test_a_bound_that_is_just_met_counts(front):
    assert pick(front, minimum={"safe": 0.9}, maximize="helpful").index == 1


def test_without_a_constraint(front):
    assert pick(front, maximize="helpful").index == 3
    assert pick(front, maximize={"helpful": 0.3, "safe": 0.7}).index == 1
    assert "0.3 helpful + 0.7 safe" in pick(front, maximize={"helpful": 0.3, "safe": 0.7}).reason


def test_constraints_alone_take_the_best_mean(front):
    got = pick(front, minimum={"helpful": 0.1})
    assert got.index == 1  # means 0.7, 0.7 (point 2), 0.5: the first of the two
    assert "plain mean" in got.reason


def test_maximum(front):
    assert pick(front, maximum={"helpful": 0.6}, maximize="helpful").index == 1


def test_a_maximum_may_leave_only_dominated_points(front):
    # Point 4 is dominated, but only by point 2, which breaks the bound.
    got = pick(front, minimum={"helpful": 0.6}, maximum={"helpful": 0.75}, maximize="helpful")
    assert (got.index, got.feasible) == (4, True)


def test_of_equally_good_points_the_one_not_dominated():
    twins = front_of([(1.0, 0.2), (1.0, 0.8)])
    assert pick(twins, maximize="helpful").index == 1
    assert pick(twins, maximize="helpful", non_dominated_only=False).index == 0


def test_nothing_satisfies_and_the_nearest_says_by_how_much(front):
    got = pick(front, minimum={"helpful": 0.9, "safe": 0.55}, maximize="helpful")
    # Total misses in ranges of 1: point 2: 0.1; point 4: 0.25; point 3: 0.55.
    assert (got.index, got.feasible) == (2, False)
    assert got.violations == pytest.approx({"helpful": 0.1})
    assert got.reason == (
        "No point satisfies helpful >= 0.9 and safe >= 0.55. Point 2 comes nearest: helpful is 0.800, which is 0.1 too little."
    )


def test_nearest_is_measured_in_units_of_the_ranges():
    wide = front_of([(0.0, 100.0), (1.0, 0.0)])
    # Missing safe by 90 of a range of 100 is nearer than missing helpful by 0.95 of a range of 1.
    got = pick(wide, minimum={"helpful": 0.95, "safe": 90.0})
    assert (got.index, got.violations) == (1, {"safe": 90.0})
    got = pick(wide, minimum={"helpful": 0.9, "safe": 95.0})
    assert (got.index, got.violations) == (0, {"helpful": 0.9})


def test_too_much_is_said_too(front):
    got = pick(front, maximum={"safe": -0.5})
    assert got.index == 3
    assert got.violations == {"safe": 0.5}
    assert "safe is 0.000, which is 0.5 too much" in got.reason


@settings(deadline=None)
@given(st.integers(0, 9999), st.floats(-2, 2), st.floats(-2, 2))
def test_against_brute_force(seed, least_safe, most_brief):
    rewards = np.random.default_rng(seed).normal(size=(15, 3)).tolist()
    front = front_of([tuple(r) for r in rewards])
    got = pick(front, minimum={"safe": least_safe}, maximum={"brief": most_brief}, maximize="helpful")
    feasible = [r for r in rewards if r[1] >= least_safe and r[2] <= most_brief]
    assert got.feasible == bool(feasible)
    if feasible:
        assert got.point.rewards[0] == max(r[0] for r in feasible)
        assert not got.violations
    else:
        assert all(amount > 0 for amount in got.violations.values())


# ---- standard errors


def test_confidence_uses_students_bound():
    n, error = 5, 0.1
    bound = t.ppf(0.95, n - 1) * error  # 0.213, where the normal quantile would give 0.164
    front = front_of([(1.0, 0.5 + bound - 0.001), (0.5, 0.5 + bound + 0.001)], error, n)
    assert pick(front, minimum={"safe": 0.5}, maximize="helpful").index == 0
    got = pick(front, minimum={"safe": 0.5}, maximize="helpful", confidence=0.95)
    assert (got.index, got.feasible) == (1, True)
    assert "with 95% confidence" in got.reason


def test_confidence_for_a_maximum_goes_the_other_way():
    front = front_of([(0.5, 0.0), (0.3, 0.0)], error=0.1, n=1000)
    assert pick(front, maximum={"helpful": 0.55}, maximize="helpful").index == 0
    assert pick(front, maximum={"helpful": 0.55}, maximize="helpful", confidence=0.95).index == 1


def test_confidence_at_one_half_is_the_mean(front):
    kwargs = {"minimum": {"safe": 0.6}, "maximize": "helpful"}
    assert pick(front, **kwargs, confidence=0.5).index == pick(front, **kwargs).index


def test_confidence_violation_names_the_bound():
    got = pick(front_of([(1.0, 0.6)], n=1000), minimum={"safe": 0.5}, maximize="helpful", confidence=0.95)
    assert not got.feasible
    assert got.violations["safe"] == pytest.approx(t.ppf(0.95, 999) * 0.1 - 0.1)
    assert "(95% bound 0.435)" in got.reason


def test_confidence_needs_errors(front):
    unknown = front_of([(1.0, 0.6)], error=math.nan)
    with pytest.raises(InputError, match="confidence needs standard errors, and point 0"):
        pick(unknown, minimum={"safe": 0.5}, confidence=0.9)
    assert pick(unknown, minimum={"safe": 0.5}).reason.endswith("helpful 1.000, safe 0.600.")
    for bad in (0.4, 1.0, math.nan):
        with pytest.raises(InputError, match="confidence must be"):
            pick(front, minimum={"safe": 0.5}, confidence=bad)
    with pytest.raises(InputError, match="confidence applies to minimum and maximum"):
        pick(front, knee=True, confidence=0.9)


# ---- aspiration and knee


def test_aspiration_reached_by_the_best_balanced_surplus(front):
    got = pick(front, aspire={"helpful": 0.4, "safe": 0.4})
    assert (got.index, got.feasible) == (2, True)  # least surplus 0.2, against 0.1 for point 1
    assert "reaches every aspiration" in got.reason


def test_aspiration_out_of_reach(front):
    got = pick(front, aspire={"helpful": 1.0, "safe": 0.8})
    assert (got.index, got.feasible) == (2, False)  # both missed by 0.2
    assert got.violations == pytest.approx({"helpful": 0.2, "safe": 0.2})
    assert "missing helpful by 0.2 and safe by 0.2" in got.reason


def test_aspiration_in_one_objective_only_maximises_it(front):
    assert pick(front, aspire={"safe": 5.0}).index == 0


def test_augmentation_breaks_ties():
    # Both miss safe by the same 0.5; the second has more of helpful.
    front = front_of([(0.6, 0.5, 0.0), (0.9, 0.5, 0.0), (0.0, 0.0, 1.0)])
    assert pick(front, aspire={"helpful": 0.6, "safe": 1.0}, non_dominated_only=False).index == 1


def test_knee(front):
    got = pick(front, knee=True)
    assert (got.index, got.feasible) == (1, True)
    assert "is the knee" in got.reason


def test_knee_ignores_dominated_points():
    # Row 0 is dominated, so the index must still be that of the whole front.
    front = front_of([(0.1, 0.1), (0.0, 1.0), (0.9, 0.8), (1.0, 0.0)])
    assert pick(front, knee=True).index == 2


# ---- refusals


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "say what to choose by"),
        ({"maximize": "helpful", "knee": True}, "choose one way.*maximize and knee"),
        ({"aspire": {"safe": 1.0}, "knee": True}, "choose one way"),
        ({"aspire": {"safe": 1.0}, "minimum": {"safe": 0.1}}, "choose one way.*aspire and minimum"),
        ({"maximize": "helpfull"}, "unknown objective 'helpfull': did you mean 'helpful'"),
        ({"minimum": {"saef": 0.1}}, "unknown objective 'saef': did you mean 'safe'"),
        ({"aspire": {"bold": 0.1}}, "unknown objective 'bold'"),
        ({"aspire": {}}, "at least one objective"),
        ({"minimum": {"safe": math.nan}}, "minimum of safe must be a finite number"),
        ({"minimum": {"safe": "0.1"}}, "minimum of safe must be a finite number"),
        ({"minimum": {"safe": 0.5}, "maximum": {"safe": 0.4}}, "minimum 0.5 of safe lies above its maximum 0.4"),
        ({"maximize": {"safe": -1.0}}, "weights that are not negative"),
        ({"maximize": {"safe": 0.0}}, "not all 0"),
    ],
)
def test_refuses(front, asked, message):
    with pytest.raises(InputError, match=message):
        pick(front, **asked)


# ---- rounding


def test_a_range_that_is_rounding_decides_nothing():
    noise = 0.1 + 0.2
    front = front_of([(1.0, noise), (5.0, 0.3)])
    for way in (
        {"compromise": True},
        {"knee": True},
        {"pseudo_weights": {"helpful": 0.4, "safe": 0.6}},
        {"aspire": {"helpful": 5, "safe": 0.31}},
        {"minimum": {"helpful": 5.5, "safe": 0.35}},
    ):
        assert pick(front, **way).index == 1, way
    assert "is the best on everything that counts" in pick(front, compromise=True).reason


@pytest.mark.parametrize(("confidence", "said"), [(0.995, "99.5%"), (0.975, "97.5%"), (0.9, "90%"), (0.999, "99.9%")])
def test_the_confidence_is_said_as_it_was_given(confidence, said):
    front = front_of([(1.0, 2.0)], n=1000)
    assert f"with {said} confidence" in pick(front, minimum={"safe": 1.0}, confidence=confidence).reason
    assert f"({said} bound" in pick(front, minimum={"safe": 3.0}, confidence=confidence).reason
