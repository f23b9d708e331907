import json
import math

import pytest

from frontier.front import FrontPoint, ParetoFront
from moalign.exporting.expected import ExpectedRewards
from moalign.preference import Preference


def test_a_measured_point_by_hand(front):
    found = ExpectedRewards(front)(Preference.parse("helpful=0.5,brief=0.5"))
    assert (found.how, found.n_prompts, found.units) == ("measured", 64, "the rewards' own units")
    assert found.rewards == {"helpful": 2.5, "brief": 2.5}
    assert found.interval("helpful") == pytest.approx((2.5 - 0.199834, 2.5 + 0.199834), abs=1e-5)
    assert found.interval("brief") == pytest.approx((2.5 - 0.399668, 2.5 + 0.399668), abs=1e-5)


def test_between_points_the_curvature_counts(front):
    found = ExpectedRewards(front)(Preference.parse("helpful=0.75,brief=0.25"))
    assert (found.how, found.rewards) == ("interpolated", {"helpful": 3.25, "brief": 1.25})
    # The middle lies 0.5 off its neighbours' line at reach 0.5; here the reach is a quarter of that. Noise of both ends: 0.1.
    assert found.error["helpful"] == pytest.approx(math.hypot(0.1, 0.125))
    assert "Between points 1 (50%) and 2 (50%)" in found.reason


def test_outside_the_nearest_point_counts_and_says_so(front):
    part = ParetoFront(front.objectives, front.points[:2], normalizer={"source": "8 completions"})
    found = ExpectedRewards(part)(Preference.parse("helpful=0.9,brief=0.1"))
    assert (found.how, found.rewards["helpful"]) == ("nearest", 2.5)
    assert "Of the nearest measured point, helpful=0.5,brief=0.5, not of these weights" in found.reason
    assert found.units == "rewards centred and scaled by 8 completions"


def test_what_a_front_says_nothing_of(front):
    expected = ExpectedRewards(front)
    assert expected(Preference.parse("helpful=0.5,warm=0.5")) is None
    assert expected(Preference.direction({"helpful": 0.6, "brief": -0.8})) is None
    assert expected(Preference.parse("helpful=0.5,brief=0.5,warm=0")) is not None
    alone = ParetoFront(("helpful",), (FrontPoint((1.0,), (0.1,), 4),))
    assert ExpectedRewards(alone)(Preference.parse("helpful=1")) is None


def test_an_error_that_is_not_known_is_null():
    front = ParetoFront(("helpful",), (FrontPoint((1.0,), (math.nan,), 4, {"weights": {"helpful": 1.0}}),))
    found = ExpectedRewards(front)(Preference.parse("helpful=1"))
    assert found.interval("helpful") is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["interval_95"] == {"helpful": None}


def test_a_point_measured_twice_is_measured(front):
    again = FrontPoint((2.7, 2.3), (0.1, 0.2), 32, {"weights": {"helpful": 0.5, "brief": 0.5}})
    expected = ExpectedRewards(ParetoFront(front.objectives, (*front.points, again)))
    found = expected(Preference.parse("helpful=0.5,brief=0.5"))
    assert (found.how, found.n_prompts) == ("measured", 32)
    assert found.rewards == pytest.approx({"helpful": 2.6, "brief": 2.4})
    assert found.reason == "The mean of points 1, 3, measured at these weights."
    assert expected(Preference.parse("helpful=0.6,brief=0.4")).how == "interpolated"
