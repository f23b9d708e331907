import math

import pytest
from scipy.stats import t as student

from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from moalign.preference import Preference
from moalign.serving.errors import ApiError
from moalign.serving.pick import FrontMenu, requested
from moalign.serving.request import FieldError
from moalign.serving.wish import as_object, is_wish

NAMES = ("helpful", "brief")


def make_front():
    """Three measured points and, between them, one of a policy that was asked for nothing."""
    rows = [(0.0, (0.0, 4.0)), (None, (3.5, 3.5)), (0.5, (3.0, 3.0)), (1.0, (4.0, 0.0))]
    points = [
        FrontPoint(r, (0.5, math.nan), 9, w if w is None else {"weights": {"helpful": w, "brief": 1 - w}})
        for w, r in rows
    ]
    return ParetoFront(NAMES, tuple(points))


@pytest.fixture
def menu():
    return FrontMenu(make_front(), NAMES)


def test_the_best_under_a_bound(menu):
    found = menu.pick({"maximize": "helpful", "subject_to": {"brief": {">=": 2.5}}})
    assert found.index == 2  # point 1 is better and has no preference to ask for
    assert found.preference == Preference({"helpful": 0.5, "brief": 0.5})
    width = 0.5 * student.ppf(0.975, 8)
    assert found.expected["helpful"] == pytest.approx({"mean": 3.0, "low": 3 - width, "high": 3 + width})
    assert found.expected["brief"] == {"mean": 3.0, "low": None, "high": None}
    assert found.reached


def test_a_reason_names_the_points_of_the_whole_front(menu):
    best = menu.pick({"maximize": "helpful"})
    assert (best.index, "point 3 is the best on helpful" in best.reason) == (3, True)
    near = menu.pick({"aspiration": {"helpful": 2.9, "brief": 2.9}})
    assert (near.index, near.reason.startswith("Point 2 reaches every aspiration")) == (2, True)
    assert "Point 3 comes nearest" in menu.pick({"aspiration": {"helpful": 9.0}}).reason
    with pytest.raises(InputError, match=r"point 0 \(9 prompts\) has none"):
        menu.pick({"maximize": "helpful", "subject_to": {"brief": {">=": 1}}}, confidence=0.9)
    few = [FrontPoint((1.0, 2.0), (0.1, 0.1), 9), FrontPoint((1.0, 2.0), (0.1, 0.1), 1, {"weights": {"helpful": 1.0}})]
    with pytest.raises(InputError, match=r"point 1 \(1 prompts\) has none"):
        FrontMenu(ParetoFront(NAMES, tuple(few)), NAMES).pick({"subject_to": {"brief": {">=": 1}}}, confidence=0.9)


def test_a_preference_that_was_rounded_is_the_measured_one():
    """As the page sends them: thirds in four digits, and directions whose length was 1 before."""
    weights = [{"weights": {"helpful": w, "brief": 1 - w}} for w in (0.0, 1 / 3, 1.0)]
    menu = FrontMenu(
        ParetoFront(NAMES, tuple(FrontPoint((i, -i), (0.1, 0.1), 9, w) for i, w in enumerate(weights))), NAMES
    )
    found = menu.expected(Preference({"helpful": 0.3333, "brief": 0.6667}))
    assert (found.index, found.reason) == (1, "Measured as point 1.")
    assert menu.expected(Preference({"helpful": 0.335, "brief": 0.665})).index is None
    third = Preference.direction({"helpful": 2, "brief": 1}, normalize=True)
    other = Preference.direction({"helpful": 2.004, "brief": 1}, normalize=True)  # the nearest of two counts
    points = [FrontPoint((i, 0.0), (0.1, 0.1), 9, d.to_json()) for i, d in enumerate((other, third))]
    menu = FrontMenu(ParetoFront(NAMES, tuple(points)), NAMES)
    rounded = Preference.direction({"helpful": 0.6667, "brief": 0.3333}, normalize=True)
    assert menu.expected(rounded).index == 1
    with pytest.raises(InputError, match="only where it was measured"):
        menu.expected(Preference.direction({"helpful": 1.0}))


def test_an_interval_between_points_is_no_surer_than_the_one_with_the_fewest_prompts():
    rows = [(0.0, 3), (0.4, 50), (0.5, 50), (1.0, 50)]
    points = [FrontPoint((w, 1 - w), (0.1, 0.1), n, {"weights": {"helpful": w, "brief": 1 - w}}) for w, n in rows]
    menu = FrontMenu(ParetoFront(NAMES, tuple(points)), NAMES)
    # Rewards on a line: no error of interpolation, and standard errors that go together stay 0.1.
    for at, prompts in ((0.2, 3), (0.75, 50)):
        found = menu.expected(Preference({"helpful": at, "brief": 1 - at})).expected["helpful"]
        assert found["high"] - found["mean"] == pytest.approx(0.1 * student.ppf(0.975, prompts - 1))


def test_bounds_from_above_alone_and_several_goals(menu):
    assert menu.pick({"maximize": "helpful", "subject_to": {"helpful": {"<=": 3.5, ">=": 1}}}).index == 2
    assert menu.pick({"subject_to": {"brief": {">=": 3.5}}}).index == 0
    assert menu.pick({"maximize": "brief"}).index == 0
    assert menu.pick({"maximize": {"helpful": 1, "brief": 1}}).index == 2
    assert menu.pick({"maximize": "helpful", "subject_to": {}}).index == 3


def test_a_bound_may_have_to_hold_for_sure(menu):
    wish = {"maximize": "brief", "subject_to": {"helpful": {">=": 2.5}}}
    assert menu.pick(wish).index == 2
    assert menu.pick(wish, confidence=0.9).index == 3  # 3 - 1.4 x 0.5 is below 2.5, 4 - 0.7 is not


def test_an_aspiration_is_a_wish_and_no_bound(menu):
    found = menu.pick({"aspiration": {"helpful": 3.0, "brief": 3.0}})
    assert (found.index, found.reached) == (2, True)
    found = menu.pick({"aspiration": {"helpful": 9.0}})
    assert (found.index, found.reached) == (3, False)
    assert "missing helpful by 5" in found.reason


def test_an_infeasible_bound_says_what_is_near_and_what_there_is(menu):
    with pytest.raises(ApiError) as caught:
        menu.pick({"maximize": "helpful", "subject_to": {"brief": {">=": 3.5}, "helpful": {">=": 2.9}}})
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "infeasible", "preference")
    assert "Point 2 comes nearest: " in error.message
    assert '{"weights": {"helpful": 0.5, "brief": 0.5}}' in error.message
    assert "helpful 0 to 4, brief 0 to 4" in error.message


def test_without_a_front_or_a_point_to_ask_for():
    bare = ParetoFront(NAMES, (FrontPoint((1.0, 2.0), (0.1, 0.1), 4),))
    for front, message in ((None, "no measured front"), (bare, "no point of this bundle's front")):
        with pytest.raises(ApiError, match=message) as caught:
            FrontMenu(front, NAMES).pick({"maximize": "helpful"})
        assert (caught.value.status, caught.value.code) == (404, "no_front")


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"maximize": "helpfull"}, "unknown objective 'helpfull': did you mean 'helpful'"),
        ({"maximize": 3}, "maximize must name an objective, found 3"),
        ({"maximize": {"helpful": -1}}, "not negative"),
        ({"maximize": "helpful", "subjectto": {}}, "did you mean 'subject_to'"),
        ({"aspiration": {}}, "aspiration must be like"),
        ({"aspiration": {"brief": "high"}}, "aspiration of brief must be a finite number, found 'high'"),
        ({"aspiration": {"brief": True}}, "must be a finite number"),
        ({"aspiration": {"brief": math.nan}}, "must be a finite number"),
        ({"aspiration": {"brief": 10**400}}, "must be a finite number"),
        ({"aspiration": {"brief": 1e308}}, "must be a finite number"),
        ({"aspiration": {"brief": 1}, "maximize": "brief"}, "aspiration stands alone"),
        ({"subject_to": {}}, "say what to maximize"),
        ({"maximize": None, "subject_to": None}, "say what to maximize"),
        ({"subject_to": [1]}, "subject_to must be like"),
        ({"subject_to": {"breif": {">=": 1}}}, "did you mean 'brief'"),
        ({"subject_to": {"brief": 1}}, 'subject_to of brief must be like {">=": 0.5}'),
        ({"subject_to": {"brief": {">": 1}}}, "valid are >= and <=, found '>'"),
        ({"subject_to": {"brief": {">=": 2, "<=": 1}}}, "lies above its maximum"),
    ],
)
def test_malformed_wishes(menu, wish, message):
    with pytest.raises(InputError) as caught:
        menu.pick(wish)
    assert message in str(caught.value)


def test_what_to_expect_between_and_at_measured_points(menu):
    between = menu.expected(Preference({"helpful": 0.75, "brief": 0.25}))
    assert between.index is None
    assert between.expected["helpful"]["mean"] == pytest.approx(3.5)
    assert between.expected["helpful"]["low"] < 3.5 < between.expected["helpful"]["high"]
    assert between.expected["brief"] == {"mean": 1.5, "low": None, "high": None}
    assert "[2, 3]" in between.reason
    assert menu.expected(Preference.only("helpful")).index == 3
    with pytest.raises(InputError, match="direction"):
        menu.expected(Preference.direction({"helpful": 1.0}))
    assert menu.nearest(Preference.direction({"helpful": 0.9, "brief": -0.1}, normalize=True))["helpful"]["mean"] == 4.0


def test_a_request_may_wish_or_say_weights(menu):
    half = Preference({"helpful": 0.5, "brief": 0.5})
    assert requested(menu, {"aspiration": {"helpful": 3, "brief": 3}}) == half
    assert requested(menu, '{"maximize": "brief", "subject_to": {"helpful": {">=": 2}}}') == half
    assert requested(menu, "helpful=0.5,brief=0.5") == half
    assert requested(menu, {"weights": {"brief": 1.0}}) == Preference.only("brief")
    for wrong in ({"maximize": "x"}, {"helpful": 2}, "{", '{"a":' * 5000, "helpful"):
        with pytest.raises(FieldError) as caught:
            requested(menu, wrong)
        assert caught.value.field == "preference"


def test_an_objective_may_be_called_like_a_wish():
    assert not is_wish({"maximize": 0.5, "brief": 0.5}, ("maximize", "brief"))
    assert is_wish({"maximize": "brief"}, ("maximize", "brief"))
    assert is_wish({"aspiration": 0.5}, NAMES)
    assert not is_wish({"helpful": 1.0}, NAMES)
    assert as_object("helpful=1") == "helpful=1"
    assert as_object('{"a": 1}') == {"a": 1}
