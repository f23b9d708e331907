import math

import pytest
import torch
from asserts import (
    assert_homogeneous,
    assert_missing_objective_is_left_out,
    assert_monotone_in_each_reward,
    assert_permutation_equivariant,
    cases,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.group_normalisation import (
    GroupNormalised,
    gdpo_advantages,
    grpo_advantages,
    mo_grpo_advantages,
    standardised,
)

NAN = math.nan
HALF = math.sqrt(0.5)


def batch(seed=0, groups=3, size=4, k=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, size, k, generator=generator, dtype=torch.float64)


def test_collapse_of_the_plain_sum_and_how_decoupling_mends_it():
    # Two groups of two completions, two binary rewards: totals (0, 1) and (0, 2).
    rewards = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    ones = torch.ones(2)
    assert_close(grpo_advantages(rewards, ones), torch.tensor([[-HALF, HALF], [-HALF, HALF]]))
    decoupled = torch.tensor([[-HALF, HALF], [-2 * HALF, 2 * HALF]])
    assert_close(mo_grpo_advantages(rewards, ones), decoupled)
    # Whitened over the batch: mean 0, variance (0.5 + 0.5 + 2 + 2) / 3.
    assert_close(gdpo_advantages(rewards, ones), decoupled / math.sqrt(5 / 3))


def test_hand_computed_with_weights_per_group():
    rewards = torch.tensor([[[1.0, 0.0], [2.0, 4.0], [3.0, 8.0]]])  # standardised: -1, 0, 1 in both
    got = mo_grpo_advantages(rewards, torch.tensor([[[0.7, -0.2]]]))
    assert_close(got, torch.tensor([[-0.5, 0.0, 0.5]]))


affine = st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3)), min_size=3, max_size=3)


@settings(deadline=None)
@given(st.integers(0, 1000), affine)
@pytest.mark.parametrize("advantages", [gdpo_advantages, mo_grpo_advantages])
def test_unchanged_by_positive_affine_maps_of_each_reward(advantages, seed, maps):
    rewards, weights = batch(seed), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    factor, offset = (torch.tensor(column, dtype=torch.float64) for column in zip(*maps, strict=True))
    assert_close(advantages(factor * rewards + offset, weights), advantages(rewards, weights), atol=1e-7, rtol=1e-7)


def test_the_plain_sum_is_changed_by_an_affine_map():
    rewards, weights = batch(), torch.ones(3)
    stretched = rewards * torch.tensor([100.0, 1.0, 1.0])
    assert (grpo_advantages(stretched, weights) - grpo_advantages(rewards, weights)).abs().max() > 0.5
    one = grpo_advantages(stretched, torch.tensor([1.0, 0.0, 0.0]))
    assert_close(grpo_advantages(stretched, weights), one, atol=0.1, rtol=0)  # the largest scale decides alone


def test_with_one_reward_the_three_agree_up_to_whitening():
    rewards, one = batch(k=1), torch.ones(1)
    assert_close(mo_grpo_advantages(rewards, one), grpo_advantages(rewards, one))
    plain = grpo_advantages(rewards, one)
    assert_close(gdpo_advantages(rewards, one), (plain - plain.mean()) / plain.std())


def test_whitened_over_the_batch():
    got = gdpo_advantages(batch(), torch.tensor([0.2, 0.3, 0.5]))
    assert_close(got.mean(), torch.tensor(0.0, dtype=torch.float64), atol=1e-12, rtol=0)
    assert_close(got.std(), torch.tensor(1.0, dtype=torch.float64))


def test_epsilon_is_added_to_the_deviation_as_in_the_paper():
    values = torch.tensor([0.0, 2.0])
    assert_close(standardised(values, 0, epsilon=1.0), torch.tensor([-1.0, 1.0]) / (math.sqrt(2) + 1))


@settings(deadline=None)
@given(cases())
def test_properties_of_one_completion_among_others(case):
    def make(point, scale):
        def scalarizer(rewards, weights):  # beside three other completions, around the point
            others = torch.stack([point, point + scale, point - 2 * scale])
            group = torch.cat([rewards[None], others])[None]
            return mo_grpo_advantages(group, weights)[0, 0]

        return scalarizer

    assert_monotone_in_each_reward(make, case)
    assert_permutation_equivariant(make, case)
    assert_missing_objective_is_left_out(make, case)
    assert_homogeneous(make, case, degree=0)


def test_a_missing_reward_changes_no_other_statistics_and_nothing_known_is_nan():
    rewards = torch.tensor([[[1.0, 5.0], [3.0, NAN], [NAN, NAN], [5.0, 7.0]]])
    got = mo_grpo_advantages(rewards, torch.tensor([0.5, 0.5]))
    assert_close(got, torch.tensor([[(-1 - HALF) / 2, 0.0, NAN, (1 + HALF) / 2]]), equal_nan=True)
    whitened = gdpo_advantages(rewards, torch.tensor([0.5, 0.5]))
    assert whitened.isnan().sum() == 1
    assert_close(whitened[0, [0, 1, 3]].std(), torch.tensor(1.0))


def test_constant_rewards_and_rounding_noise_give_no_signal():
    value = torch.tensor(1000.3)
    noisy = torch.stack([value, value, value.nextafter(torch.tensor(2000.0))]).view(1, 3, 1)
    assert (mo_grpo_advantages(noisy, torch.ones(1)) == 0).all()
    assert (gdpo_advantages(torch.full((2, 3, 2), 0.1), torch.ones(2)) == 0).all()
    alone = torch.tensor([[[1.0], [NAN], [NAN]]])
    assert mo_grpo_advantages(alone, torch.ones(1))[0, 0] == 0


def test_tiny_rewards_count_as_much_as_large_ones():
    rewards, weights = batch(), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert_close(mo_grpo_advantages(rewards * 1e-12, weights), mo_grpo_advantages(rewards, weights))


@pytest.mark.parametrize(("whiten", "advantages"), [(True, gdpo_advantages), (False, mo_grpo_advantages)])
def test_as_a_scalarizer_of_a_flat_batch(whiten, advantages):
    rewards, weights = batch(), torch.rand(3, 1, 3, dtype=torch.float64)
    flat = GroupNormalised(4, whiten)(rewards.view(12, 3), weights.expand(3, 4, 3).reshape(12, 3))
    assert_close(flat, advantages(rewards, weights).flatten())


def test_refusals():
    with pytest.raises(InputError, match="group_size must be at least 2"):
        GroupNormalised(1)
    with pytest.raises(InputError, match="epsilon must not be negative"):
        GroupNormalised(2, epsilon=-1.0)
    with pytest.raises(InputError, match="a multiple of group_size 4"):
        GroupNormalised(4)(torch.zeros(6, 2), torch.ones(6, 2))
    with pytest.raises(InputError, match="a reward is infinite"):
        gdpo_advantages(torch.full((1, 2, 1), math.inf), torch.ones(1))
    for advantages in (gdpo_advantages, mo_grpo_advantages, grpo_advantages):
        with pytest.raises(InputError, match=r"must be \[groups, group_size, K\]"):
            advantages(torch.zeros(4, 2), torch.ones(2))
