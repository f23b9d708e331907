"""Max-min over groups: the duality identity, equal groups inside, a vertex where one group is always worse off."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.oracle.groups import max_min
from moalign.oracle.optimum import optimum


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
def test_value_is_the_least_linear_value_over_mixtures(world, beta):
    answer = world.max_min(beta)
    values = lambda t: optimum(world.log_reference, world.group_rewards, torch.tensor([t, 1 - t]).double(), beta).value  # noqa: E731
    least = minimize_scalar(values, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    assert answer.value == pytest.approx(least.fun, abs=1e-9)
    assert float(answer.weights[0]) == pytest.approx(least.x, abs=1e-4)
    assert answer.gap < 1e-9


def test_policy_is_the_linear_optimum_at_the_worst_case(world):
    answer = world.max_min(0.3)
    assert_close(answer.log_probs, optimum(world.log_reference, world.group_rewards, answer.weights, 0.3).log_probs)
    assert answer.weights.sum() == pytest.approx(1)


def test_groups_are_equal_where_the_mixture_is_inside(default_world):
    answer = default_world.max_min(0.3)
    assert (answer.weights > 0.05).all()
    assert answer.rewards[0] == pytest.approx(float(answer.rewards[1]), abs=1e-8)
    assert answer.worst == pytest.approx(answer.value + 0.3 * answer.kl, abs=1e-8)


def test_better_for_the_worst_than_pooling_or_equal_weights(default_world):
    def value(w):
        best = optimum(default_world.log_reference, default_world.group_rewards, torch.tensor(w).double(), 0.3)
        return float(best.rewards.min()) - 0.3 * best.kl

    best = default_world.max_min(0.3).value
    assert best >= value([0.5, 0.5]) - 1e-12
    assert best > value(list(default_world.config.shares)) + 0.05


def test_symmetric_groups_by_hand():
    """Opposite rewards of even odds: whatever helps one hurts the other, so nothing is done."""
    reference = torch.full((1, 2), math.log(0.5), dtype=torch.float64)
    answer = max_min(reference, torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]]).double(), 0.5)
    assert_close(answer.weights, torch.tensor([0.5, 0.5]).double())
    assert answer.value == pytest.approx(0, abs=1e-12)
    assert answer.kl == pytest.approx(0, abs=1e-12)


def test_vertex_where_one_group_is_always_worse_off(world):
    lower = torch.stack([world.group_rewards[..., 0], world.group_rewards[..., 0] + 1], -1)
    answer = max_min(world.log_reference, lower, 0.3)
    assert_close(answer.weights, torch.tensor([1.0, 0.0]).double(), atol=1e-8, rtol=0)
    assert answer.rewards[1] > answer.rewards[0] + 0.5
    assert answer.gap < 1e-8


@pytest.mark.parametrize("seed", range(5))
def test_five_random_groups_are_certified(seed):
    random = torch.Generator().manual_seed(seed)
    reference = torch.randn(3, 40, generator=random).double().log_softmax(1)
    rewards = torch.randn(3, 40, 5, generator=random).double() + torch.linspace(0, 0.5, 5)
    answer = max_min(reference, rewards, 0.5)
    assert answer.gap < 1e-8
    active = answer.weights > 1e-6
    assert np.ptp(answer.rewards[active].numpy()) < 1e-6
    assert (answer.rewards >= answer.worst - 1e-9).all()


def test_any_names_and_no_group(world):
    assert world.max_min(0.5, ["helpful", "brief", "warm"]).gap < 1e-9
    with pytest.raises(InputError, match="at least one group"):
        max_min(world.log_reference, world.group_rewards[..., :0], 1.0)
