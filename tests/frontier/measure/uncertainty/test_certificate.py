import math

import numpy as np
import pytest

from frontier.errors import InputError
from frontier.measure.uncertainty import certify_rewards, holm

NAMES = ("helpful", "safe")


def rewards(prompts=100):
    return np.random.default_rng(0).normal((0.5, 0.8), 0.1, size=(prompts, 2)).clip(0, 1)


def test_passes_what_is_clear_and_not_what_is_not():
    found = certify_rewards(rewards(), {"safe": 0.7, "helpful": 0.4}, NAMES)
    assert found.passed
    assert [b.method for b in found.bounds] == ["skewness", "skewness"]
    assert all(b.minimum < b.low < b.mean for b in found.bounds)
    assert not certify_rewards(rewards(), {"safe": 0.7, "helpful": 0.499}, NAMES).passed
    assert str(found).startswith("certified at delta 0.05: safe 0.")


def test_choosing_among_many_costs():
    one, many = (certify_rewards(rewards(), {"safe": 0.7}, NAMES, chosen_among=m) for m in (1, 21))
    assert many.bounds[0].low < one.bounds[0].low
    assert many.bounds[0].low == certify_rewards(rewards(), {"safe": 0.7}, NAMES, delta=0.05 / 21).bounds[0].low
    assert (one.correction, many.correction) == ("none", "union bound")
    edge = one.bounds[0].low - 1e-9
    assert certify_rewards(rewards(), {"safe": edge}, NAMES).passed
    assert not certify_rewards(rewards(), {"safe": edge}, NAMES, chosen_among=21).passed


def test_a_known_range_is_used():
    found = certify_rewards(rewards(), {"safe": 0.7, "helpful": 0.4}, NAMES, ranges={"safe": (0, 1)})
    assert [b.method for b in found.bounds] == ["betting", "skewness"]


def test_passing_and_the_bound_agree_at_the_edge_of_the_grid():
    for least in np.linspace(0.7, 0.8, 41):
        found = certify_rewards(rewards(), {"safe": least}, NAMES, ranges={"safe": (0, 1)})
        assert found.passed == (found.bounds[0].low >= least)


def test_what_is_not_known_is_left_out_per_objective():
    table = rewards()
    table[:40, 1] = np.nan
    found = certify_rewards(table, {"safe": 0.7, "helpful": 0.4}, NAMES)
    assert [b.n_prompts for b in found.bounds] == [60, 100]
    assert found.n_prompts == 60


def test_alike_prompts_get_none():
    assert not certify_rewards(np.full((50, 2), 0.3), {"safe": 0.1}, NAMES).passed


def test_holm_by_hand():
    # 0.01 <= 0.05 / 3, 0.02 <= 0.05 / 2, 0.06 > 0.05: the union bound would stop after the first.
    assert holm([0.06, 0.01, 0.02], 0.05) == [False, True, True]
    assert holm([0.02, 0.02, 0.02], 0.05) == [False, False, False]
    assert holm([], 0.05) == []


@pytest.mark.parametrize(
    ("minimum", "settings", "message"),
    [
        ({}, {}, "at least one constraint"),
        ({"saef": 0.1}, {}, "did you mean 'safe'"),
        ({"safe": math.nan}, {}, "must be a finite number"),
        ({"safe": 0.1}, {"delta": 0.5}, "delta must be above 0"),
        *(
            ({"safe": 0.1}, {"chosen_among": m}, "chosen_among must be a whole number of at least 1")
            for m in (0, 1.5, math.nan, math.inf, True, None, "2")
        ),
        ({"safe": 0.1}, {"chosen_among": 10**400}, "chosen_among must be at most 1000000000"),
        *(({"safe": m}, {}, "the minimum of safe must be a finite number") for m in (None, [1], "1", 10**400)),
        ({"safe": 0.1}, {"seed": -1}, "seed must be a whole number of at least 0"),
        ({"safe": 0.1}, {"delta": None}, "delta must be a finite number"),
        *(
            ({"safe": 0.1}, {"ranges": {"safe": r}}, "the range of safe must be")
            for r in (1, None, "01", (0, "1"), (0, 1, 2))
        ),
        ({"safe": 0.1}, {"method": "beting"}, "did you mean 'betting'"),
        ({"safe": 0.1}, {"method": "betting"}, "needs the range of 'safe'"),
        ({"safe": 0.1}, {"ranges": {"safe": (0.0, 0.5)}}, "lie outside of their range"),
    ],
)
def test_refuses(minimum, settings, message):
    with pytest.raises(InputError, match=message):
        certify_rewards(rewards(), minimum, NAMES, **settings)


def test_refuses_few_prompts_and_other_shapes():
    with pytest.raises(InputError, match="at least 10 finite rewards, found 9 prompts"):
        certify_rewards(rewards(9), {"safe": 0.1}, NAMES)
    with pytest.raises(InputError, match=r"\[N prompts, 2 objectives\]"):
        certify_rewards(rewards()[:, :1], {"safe": 0.1}, NAMES)


def test_alike_rewards_are_not_sure():
    alike = certify_rewards(np.ones((30, 1)), {"safe": 0.5}, ["safe"])
    assert (
        str(alike) == "not certified at delta 0.05: safe 1, wanted 0.5, rewards all alike: nothing is sure; give ranges"
    )
    ranged = certify_rewards(np.ones((30, 1)), {"safe": 0.5}, ["safe"], ranges={"safe": (0, 1)})
    assert str(ranged).startswith("certified at delta 0.05: safe 1, surely 0.")


def test_numbers_of_other_kinds_are_taken():
    minimum, span = {"safe": np.float32(0.5)}, {"safe": np.array([0, 1])}
    found = certify_rewards(rewards(), minimum, NAMES, ranges=span, chosen_among=np.int64(3), seed=np.int64(2))
    assert (found.passed, found.bounds[0].minimum) == (True, 0.5)


@pytest.mark.parametrize("table", [[["x", "y"]] * 20, [[{}, {}]] * 20, [[10**400, 1]] * 20])
def test_refuses_rewards_that_are_no_numbers(table):
    with pytest.raises(InputError, match="must be a table of numbers"):
        certify_rewards(table, {"safe": 0.1}, NAMES)
