"""Groups from features: the number, the members, new users, the report."""

import json
import logging
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import UserGroupsConfig, fit_feature_groups
from reward_heads.users.grouping import Grouping

CONFIG = UserGroupsConfig(max_groups=3, restarts=3)


def fit(plant, config=CONFIG, **planted):
    x, pairs, tastes = plant(**({"pairs_per_user": 60} | planted))
    users = [pairs.users[u] for u in pairs.user_of.tolist()]
    return fit_feature_groups(x, torch.zeros_like(x), pairs.labels, users, config), x, pairs, tastes


@pytest.fixture(scope="module")
def fitted(plant):
    return fit(plant)


def test_finds_who_wants_what(fitted):
    groups, _, _, tastes = fitted
    assert groups.names == ("group1", "group2")  # the largest first
    assert groups.members() == {
        "group1": tuple(f"u{i}" for i in range(8)),
        "group2": tuple(f"u{i}" for i in range(8, 12)),
    }
    assert_close(groups.shares, torch.tensor([8 / 12, 4 / 12]).double(), atol=1e-3, rtol=0)
    cosine = torch.nn.functional.cosine_similarity(groups.weights, tastes)
    assert (cosine > 0.95).all()
    assert groups.assign("u3") == "group1"
    assert [row.groups for row in groups.likelihood] == [1, 2, 3]
    assert groups.chosen == 2
    assert groups.accuracy[0].n == 8 * 12  # a fifth of 60 pairs of 8 users
    assert all(right > 0.7 for right, _ in groups.accuracy)


def test_hard_assignment_finds_the_same(plant, fitted):
    groups = fit(plant, UserGroupsConfig(max_groups=3, restarts=3, assignment="hard"))[0]
    assert groups.members() == fitted[0].members()
    assert set(groups.responsibilities.flatten().tolist()) == {0.0, 1.0}


def test_one_taste_is_one_group(plant):
    groups = fit(plant, minority=0)[0]
    assert groups.names == ("group1",)
    assert groups.chosen == 1


def test_a_fixed_number_without_held_out_pairs(plant):
    groups = fit(plant, UserGroupsConfig(groups=2, held_out=0.0, restarts=2))[0]
    assert len(groups.names) == 2
    assert groups.likelihood == ()
    assert groups.trained is None
    assert groups.accuracy[0].n == 8 * 60
    assert "held-out" not in groups.table()


def test_equal_seeds_give_equal_results(plant, fitted):
    again = fit(plant)[0]
    assert torch.equal(fitted[0].responsibilities, again.responsibilities)
    assert torch.equal(fitted[0].weights, again.weights)
    assert fitted[0].table() == again.table()


def test_a_new_user_starts_at_the_shares_and_is_learned_from_pairs(fitted, plant):
    groups, *_ = fitted
    none = torch.empty(0, 3, dtype=torch.float64)
    assert list(groups.posterior(none, none, torch.empty(0)).values()) == pytest.approx(groups.shares.tolist())
    x, pairs, _ = plant(pairs_per_user=40, users=2, minority=1, seed=9)
    for user, name in enumerate(groups.names):
        mine = pairs.user_of == user
        found = groups.posterior(x[mine], torch.zeros_like(x[mine]), pairs.labels[mine])
        assert found[name] > 0.99
        assert sum(found.values()) == pytest.approx(1)
    tie = groups.posterior(x[:1], torch.zeros(1, 3), torch.tensor([0.5]))  # a tie says little
    assert tie["group1"] == pytest.approx(groups.shares[0].item(), abs=0.35)


def test_the_posterior_of_a_reward_that_is_too_sure_is_shrunk(fitted):
    groups = fitted[0]
    d, shares = torch.tensor([[2.0, -2.0]]).double(), groups.shares
    shrink = groups.scale.scale.clamp(0, 1)
    odds = math.log(shares[0] / shares[1]) + float(
        torch.nn.functional.logsigmoid(d * shrink)[0] @ torch.tensor([1.0, -1.0]).double()
    )
    got = groups.posterior_of(d, torch.ones(1))["group1"]
    assert got == pytest.approx(1 / (1 + math.exp(-odds)))


def test_the_report_survives_json(fitted):
    groups = fitted[0]
    back = Grouping.from_json(json.loads(json.dumps(groups.to_json(), allow_nan=False)))
    assert back.table() == groups.table()
    assert torch.equal(back.responsibilities, groups.responsibilities)
    assert back.scale.scale.tolist() == groups.scale.scale.tolist()
    assert back.likelihood == groups.likelihood


def test_the_table_is_for_people(fitted):
    lines = fitted[0].table().splitlines()
    assert lines[1].startswith("group1  0.667      8  0.")
    assert [line.split()[0] for line in lines if line.endswith("<- chosen")] == ["2"]


def test_missing_labels_unknown_users_and_silent_ones(plant, caplog):
    x, pairs, _ = plant(pairs_per_user=60)
    users: list = [pairs.users[u] for u in pairs.user_of.tolist()]
    labels = pairs.labels.clone()
    labels[pairs.user_of == 0] = math.nan  # u0 is known, but never said anything
    users[1::12] = [None] * 60  # nobody knows that these pairs are u1's
    with caplog.at_level(logging.WARNING):
        groups = fit_feature_groups(x, torch.zeros_like(x), labels, users, CONFIG)
    assert "60 of 720 pairs have no user" in caplog.text
    assert "60 of 720 pairs have no label" in caplog.text
    assert "u1" not in groups.users
    assert_close(groups.responsibilities[groups.users.index("u0")], groups.shares)
    assert groups.assign("u11") == "group2"


def test_more_groups_than_tastes_lose_their_users_or_are_kept_in_the_table(plant):
    groups = fit(plant, UserGroupsConfig(groups=6, restarts=2, ridge=0.01), pairs_per_user=20)[0]
    assert groups.chosen == 6
    assert 2 <= len(groups.names) <= 6
    assert groups.likelihood[0].left == len(groups.names)
    assert groups.shares.tolist() == sorted(groups.shares.tolist(), reverse=True)


def test_refuses(plant, fitted):
    groups, x, pairs, _ = fitted
    users = [pairs.users[u] for u in pairs.user_of.tolist()]
    zeros = torch.zeros_like(x)
    with pytest.raises(InputError, match="max_groups is 13, but only 12 users have labelled pairs"):
        fit_feature_groups(x, zeros, pairs.labels, users, UserGroupsConfig(max_groups=13))
    with pytest.raises(InputError, match="groups is 13, but only 12 users"):
        fit_feature_groups(x, zeros, pairs.labels, users, UserGroupsConfig(groups=13))
    with pytest.raises(InputError, match="there is only one: 'ann'"):
        fit_feature_groups(x, zeros, pairs.labels, ["ann"] * len(x), CONFIG)
    with pytest.raises(InputError, match=r"features must both be \[720, d\]"):
        fit_feature_groups(x, zeros[:5], pairs.labels, users, CONFIG)
    with pytest.raises(InputError, match=r"labels must be the probability in \[0, 1\]"):
        fit_feature_groups(x, zeros, pairs.labels + 1, users, CONFIG)
    with pytest.raises(InputError, match=r"'u99' is none of the 12 users .*did you mean 'u9'"):
        groups.assign("u99")
    content = groups.to_json()
    with pytest.raises(InputError, match="unknown field 'share': did you mean 'shares'"):
        Grouping.from_json(content | {"share": []})
    with pytest.raises(InputError, match="field 'users' is missing"):
        Grouping.from_json({name: value for name, value in content.items() if name != "users"})
    with pytest.raises(InputError, match="shares must be probabilities with sum 1"):
        Grouping.from_json(content | {"shares": [0.5, 0.6]})
