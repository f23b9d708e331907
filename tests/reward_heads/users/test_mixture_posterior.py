"""Groups as a user model."""

import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import GroupUsers, UserGroupsConfig, UserModel, expected_information, fit_feature_groups


@pytest.fixture(scope="module")
def model(plant):
    x, pairs, _ = plant(pairs_per_user=60)
    users = [pairs.users[u] for u in pairs.user_of.tolist()]
    groups = fit_feature_groups(x, torch.zeros_like(x), pairs.labels, users, UserGroupsConfig(groups=2, restarts=2))
    return GroupUsers(groups)


def test_the_population_is_the_shares_with_their_uncertainty(model):
    assert isinstance(model, UserModel)
    nobody = model.population()
    assert nobody.n == 0
    assert_close(nobody.mean, model.groups.shares)
    # 8 of 12 users: Beta(8, 4) has mean 2/3 and standard deviation sqrt(2/9/13).
    assert_close(nobody.std, torch.full((2,), math.sqrt(2 / 9 / 13)).double(), atol=0.01, rtol=0)
    assert_close(nobody.samples.mean(dim=0), model.groups.shares, atol=0.01, rtol=0)


def test_the_mean_is_the_groups_own_posterior_and_predictions_mix(model):
    x = torch.tensor([[0.5, -0.5], [1.0, -0.2]], dtype=torch.float64)
    known = model.posterior_of(x, torch.tensor([1.0, 0.0]))
    assert_close(
        known.mean, torch.tensor(list(model.groups.posterior_of(x, torch.tensor([1.0, 0.0])).values())).double()
    )
    low, high = known.interval(0.9).T
    assert ((low < known.mean) & (known.mean < high)).all()
    scale = model.groups.scale.scale.clamp(max=1).double()
    mixed = torch.sigmoid(x * scale) @ known.mean
    assert_close(known.prefers(x), mixed, atol=0.03, rtol=0)


def test_pairs_decide_and_questions_tell_groups_apart(model):
    apart, alike = torch.tensor([[4.0, -4.0]]).double(), torch.tensor([[4.0, 4.0]]).double()
    information = expected_information(model.population(), torch.cat([apart, alike]))
    assert information[0] > 0.3 > 0.05 > information[1]
    many = model.posterior_of(apart.expand(20, -1), torch.ones(20))
    assert many.mean[0] > 0.99
    assert expected_information(many, apart)[0] < 0.05
    assert torch.equal(many.samples, model.posterior_of(apart.expand(20, -1), torch.ones(20)).samples)


class Three:
    """Texts to three counts."""

    width, fingerprint = 3, "three"

    def embed(self, prompts, completions):
        return torch.tensor([[float(text.count(letter)) for letter in "abc"] for text in completions])


def test_texts(model):
    row = {"prompt": "p", "completion_a": "aab", "completion_b": "c", "labels": {"liked": 1.0}}
    reader = GroupUsers(model.groups, Three())
    expected = torch.tensor([[2.0, 1.0, -1.0]]).double() @ model.groups.weights.T
    assert_close(reader.differences([row]), expected)
    assert torch.equal(reader.posterior([row]).samples, model.posterior_of(expected, torch.ones(1)).samples)
    assert torch.equal(reader.posterior([]).samples, model.population().samples)
    with pytest.raises(InputError, match="give an embedder"):
        model.posterior([row])


def test_refuses(model):
    with pytest.raises(InputError, match="draws must be at least 16, found 1"):
        GroupUsers(model.groups, draws=1)
    narrow = Three()
    narrow.width = 2
    with pytest.raises(InputError, match="read 3 features, but the embedder gives 2"):
        GroupUsers(model.groups, narrow)
    with pytest.raises(InputError, match=r"\[M, 2\]"):
        model.posterior_of(torch.zeros(1, 3), torch.ones(1))
