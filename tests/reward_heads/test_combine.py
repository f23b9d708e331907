import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.combine import CombinedReward, negated, select
from reward_heads.functions import FunctionReward

LENGTHS = FunctionReward({"long": lambda p, c: len(c), "asked": lambda p, c: len(p)})
TOXIC = FunctionReward({"toxicity": lambda p, c: c.count("x") or None})


def test_combined_in_order():
    reward = CombinedReward([TOXIC, LENGTHS])
    assert reward.objectives == ("toxicity", "long", "asked")
    scores = reward.score(["p", "pp"], ["axx", "b"])
    assert_close(scores, torch.tensor([[2.0, 3.0, 1.0], [math.nan, 1.0, 2.0]]), equal_nan=True)


def test_combined_refuses_a_shared_name_and_nothing():
    with pytest.raises(InputError, match="objective 'long' is in reward 0 and in reward 1"):
        CombinedReward([LENGTHS, select(LENGTHS, ["long"])])
    with pytest.raises(InputError, match="at least one reward"):
        CombinedReward([])


def test_select_reorders_and_drops():
    scores = LENGTHS.score(["p"], ["ccc"])
    assert_close(select(LENGTHS, ["asked", "long"]).score(["p"], ["ccc"]), scores[:, [1, 0]])
    assert select(LENGTHS, ["asked"]).objectives == ("asked",)
    assert select(LENGTHS, ["long", "asked"]) is LENGTHS


def test_select_refuses_unknown_repeated_and_none():
    with pytest.raises(InputError, match="unknown objective 'longg': did you mean 'long'"):
        select(LENGTHS, ["longg"])
    with pytest.raises(InputError, match="named twice"):
        select(LENGTHS, ["long", "long"])
    with pytest.raises(InputError, match="at least one"):
        select(LENGTHS, [])


def test_a_cost_enters_as_its_negative():
    reward = negated(CombinedReward([TOXIC, LENGTHS]), {"toxicity": "harmless"})
    assert reward.objectives == ("harmless", "long", "asked")
    scores = reward.score(["p", "p"], ["xx", "b"])
    assert_close(scores, torch.tensor([[-2.0, 2.0, 1.0], [math.nan, 1.0, 1.0]]), equal_nan=True)


def test_negating_twice_is_nothing_and_all_is_the_default():
    once = negated(LENGTHS)
    assert once.objectives == LENGTHS.objectives
    assert_close(once.score(["p"], ["cc"]), -LENGTHS.score(["p"], ["cc"]))
    assert_close(negated(once, ["long", "asked"]).score(["p"], ["cc"]), LENGTHS.score(["p"], ["cc"]))


def test_negated_refuses():
    with pytest.raises(InputError, match="unknown objective 'toxic': did you mean 'toxicity'"):
        negated(TOXIC, ["toxic"])
    with pytest.raises(InputError, match="named twice"):
        negated(LENGTHS, {"long": "asked"})
    with pytest.raises(InputError, match="write \\['long'\\]"):
        negated(LENGTHS, "long")
