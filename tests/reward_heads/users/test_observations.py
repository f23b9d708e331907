import logging
import math

import pytest
import torch

from frontier.errors import InputError
from reward_heads.users.observations import UserPairs, read_user_pairs

ROW = {"prompt": "p", "completion_a": "x", "completion_b": "y"}


def test_reads_users_and_labels_and_leaves_out_what_has_neither(caplog):
    rows = [
        ROW | {"labels": {"liked": 1.0}, "user": "ann"},
        ROW | {"labels": {"liked": 0.25}, "user": None},
        ROW | {"labels": {"liked": None}, "user": "carl"},
        ROW | {"labels": {"liked": 0.5, "other": None}, "user": 7},
    ]
    with caplog.at_level(logging.WARNING):
        pairs, examples, objective = read_user_pairs(rows)
    assert pairs.users == ("ann", "carl", "7")  # carl stays, without a pair
    assert pairs.user_of.tolist() == [0, 2]
    assert pairs.labels.tolist() == [1.0, 0.5]
    assert len(examples) == 2
    assert objective == "liked"
    assert "1 of 4 pairs have no user" in caplog.text
    assert "1 of 4 pairs have no label" in caplog.text


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 0), (3, 1), (5, 1), (8, 2), (20, 4)])
def test_the_split_is_within_users(count, held):
    user_of = torch.tensor([0] * count + [1] * 10 + [0] * count)  # user 0 has twice as many, apart from each other
    pairs = UserPairs(("a", "b", "silent"), user_of, torch.ones(len(user_of)))
    train, out = pairs.split(0.2, seed=3)
    assert sorted([*train.tolist(), *out.tolist()]) == list(range(len(user_of)))
    assert (user_of[out] == 1).sum() == 2
    assert (user_of[out] == 0).sum() == math.floor(0.4 * count + 0.5)
    alone = UserPairs(("a", "b"), torch.tensor([0] * count + [1] * 10), torch.ones(count + 10))
    assert (alone.user_of[alone.split(0.2, 0)[1]] == 0).sum() == held
    assert torch.equal(out, pairs.split(0.2, seed=3)[1])
    assert not torch.equal(out, pairs.split(0.2, seed=4)[1])


def test_someone_with_two_pairs_keeps_one_to_learn_from():
    pairs = UserPairs(("a", "b"), torch.tensor([0, 0, 1, 1]), torch.ones(4))
    train, held = pairs.split(0.9, 0)
    assert pairs.user_of[train].tolist() == [0, 1]
    assert pairs.user_of[held].tolist() == [0, 1]


def test_nothing_held_out():
    train, held = UserPairs(("a", "b"), torch.tensor([0, 1]), torch.ones(2)).split(0.0, 0)
    assert (train.tolist(), held.tolist()) == ([0, 1], [])


@pytest.mark.parametrize(
    ("rows", "objective", "message"),
    [
        ([], None, "no row has a label"),
        ([ROW | {"labels": {"a": 1, "b": 0}, "user": "u"}], None, "labelled for a, b: say which objective"),
        ([ROW | {"labels": {"liked": 1}, "user": "u"}], "like", "unknown objective 'like': did you mean 'liked'"),
        ([ROW | {"labels": {"liked": 1}, "user": None}], None, "no pair has both a user and a label"),
        ([ROW | {"labels": {"liked": 1}, "user": "u"}] * 3, None, "there is only one: 'u'"),
        ([ROW | {"labels": {"liked": 2}, "user": "u"}], None, r"row 0, field 'labels'.*\[0, 1\]"),
        ([{"prompt": "p", "completion": "c", "scores": {"liked": 1}, "user": "u"}], None, "row 0: is a rating"),
    ],
)
def test_refuses(rows, objective, message):
    with pytest.raises(InputError, match=message):
        read_user_pairs(rows, objective)


def test_refuses_a_split_without_enough_pairs():
    with pytest.raises(InputError, match=r"no user has enough pairs to hold 0.2 of them out"):
        UserPairs(("a", "b"), torch.tensor([0, 1]), torch.ones(2)).split(0.2, 0)
    with pytest.raises(InputError, match="one user per label: found 1 users"):
        UserPairs.of(["a"], torch.ones(2))


def test_users_of_tensors_and_missing_ones_of_tables():
    labels = torch.ones(4)
    pairs, kept = UserPairs.of(torch.tensor([3, 3, 5, 3]), labels)
    assert (pairs.users, pairs.user_of.tolist()) == (("3", "5"), [0, 0, 1, 0])
    pairs, kept = UserPairs.of(["ann", math.nan, "bob", None], labels)
    assert (pairs.users, kept.tolist()) == (("ann", "bob"), [0, 2])
