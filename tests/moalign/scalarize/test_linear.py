import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from moalign.scalarize.linear import Linear

NAN = math.nan
linear = Linear()


def test_hand_computed():
    got = linear(torch.tensor([[1.0, -2.0, 4.0]]), torch.tensor([[0.5, 0.25, 0.25]]))
    assert_close(got, torch.tensor([1.0]))  # 0.5 - 0.5 + 1.0


def test_directions_may_be_negative():
    assert_close(linear(torch.tensor([2.0, 5.0]), torch.tensor([0.8, -0.6])), torch.tensor(-1.4))


def test_missing_rewards_scale_up_the_weights_of_the_present_ones():
    got = linear(torch.tensor([[1.0, NAN, 3.0]]), torch.tensor([[0.2, 0.5, 0.3]]))
    assert_close(got, torch.tensor([(0.2 * 1 + 0.3 * 3) / 0.5]))


def test_nothing_known_is_nan_and_no_weight_is_zero():
    assert linear(torch.tensor([NAN, NAN]), torch.tensor([0.5, 0.5])).isnan()
    assert linear(torch.tensor([7.0, NAN]), torch.tensor([0.0, 1.0])) == 0


vectors = st.lists(st.floats(-100, 100), min_size=3, max_size=3).map(torch.tensor)
simplex = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda w: torch.tensor(w) / sum(w))


@settings(deadline=None)
@given(vectors, simplex, st.integers(0, 2), st.floats(0, 10))
def test_monotone_in_each_reward(rewards, weights, k, more):
    better = rewards.clone()
    better[k] += more
    assert linear(better, weights) >= linear(rewards, weights) - 1e-4


@settings(deadline=None)
@given(vectors, simplex, st.permutations(range(3)))
def test_permutation_of_the_objectives_changes_nothing(rewards, weights, order):
    assert_close(linear(rewards[order], weights[order]), linear(rewards, weights), atol=1e-4, rtol=1e-5)


@settings(deadline=None)
@given(vectors, simplex, st.floats(0.1, 10), st.integers(0, 2))
def test_homogeneous_also_with_a_missing_reward(rewards, weights, scale, missing):
    rewards[missing] = NAN
    assert_close(linear(scale * rewards, weights), scale * linear(rewards, weights), atol=1e-3, rtol=1e-4)


@settings(deadline=None)
@given(simplex, st.floats(-5, 5), st.integers(0, 2))
def test_equal_rewards_give_that_reward_whatever_is_missing(weights, value, missing):
    rewards = torch.full((3,), value)
    rewards[missing] = NAN
    assert_close(linear(rewards, weights), torch.tensor(value), atol=1e-4, rtol=1e-4)
