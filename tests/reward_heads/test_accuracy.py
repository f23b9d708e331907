import math

import pytest
import torch

from frontier.errors import InputError
from reward_heads.accuracy import Accuracy, agreement, pairwise_accuracy
from reward_heads.functions import FunctionReward


def pair(a, b, **labels):
    return {"prompt": "p", "completion_a": a, "completion_b": b, "labels": labels}


def test_by_hand():
    reward = FunctionReward({"long": lambda p, c: len(c), "known": lambda p, c: None if "?" in c else 1.0})
    rows = [
        pair("aaa", "a", long=1.0, known=1.0),  # right; the scores of "known" are equal: half
        pair("a", "aaa", long=0.9),  # wrong
        pair("aa", "bb", long=0.0),  # equal scores: half
        pair("a", "aa", long=0.2, known=None),  # right
        pair("a", "aa", long=0.5),  # a tie says nothing about the order
        pair("a", "aa", other=1.0),  # not an objective of this reward
        pair("?", "aa", known=0.0),  # not scored
    ]
    assert pairwise_accuracy(reward, rows) == {"long": (2.5 / 4, 4), "known": (0.5, 1)}


def test_swapping_the_completions_and_the_label_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    differences = torch.randn(50, 3, generator=generator).round()
    targets = torch.rand(50, 3, generator=generator)
    targets[targets < 0.2] = math.nan
    assert agreement(differences, targets) == agreement(-differences, 1 - targets)
    # Turning the reward round turns the accuracy round.
    for straight, turned in zip(agreement(differences, targets), agreement(-differences, targets), strict=True):
        assert straight.accuracy + turned.accuracy == pytest.approx(1)
        assert straight.n == turned.n > 0


def test_nothing_labelled_is_not_a_number():
    reward = FunctionReward({"long": lambda p, c: len(c)})
    for rows in ([], [pair("a", "b", long=None)]):
        (found,) = pairwise_accuracy(reward, rows).values()
        assert isinstance(found, Accuracy)
        assert math.isnan(found.accuracy)
        assert found.n == 0


def test_refuses_ratings():
    reward = FunctionReward({"long": lambda p, c: len(c)})
    rows = [pair("a", "b", long=1), {"prompt": "p", "completion": "c", "scores": {"long": 1}}]
    with pytest.raises(InputError, match="row 1: is a rating"):
        pairwise_accuracy(reward, rows)
