"""E steps worked out by hand, and what every run must keep."""

import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from reward_heads.users.em import posterior, predictive_log_likelihood, run_em, user_log_likelihood
from reward_heads.users.linear import LinearScorer
from reward_heads.users.observations import UserPairs


class Fixed:
    """Rewards that can't be fitted: EM then only learns shares."""

    def __init__(self, differences):
        self.table = differences.double()

    def differences(self, rows):
        return self.table[rows]

    def fit(self, rows, weights):
        pass

    def penalty(self):
        return 0.0


LOG3 = math.log(3)  # σ(log 3) = 3/4


def test_e_step_by_hand():
    # Two pairs of one user: the first group finds each label likely by 3/4, the second by 1/4; priors 1/3 and 2/3.
    pairs = UserPairs(("ann", "bob"), torch.tensor([0, 0]), torch.tensor([1.0, 0.0], dtype=torch.float64))
    total = user_log_likelihood(torch.tensor([[LOG3, -LOG3], [-LOG3, LOG3]]).double(), pairs, torch.arange(2))
    assert_close(total[0], torch.tensor([2 * math.log(3 / 4), 2 * math.log(1 / 4)]).double())
    assert total[1].tolist() == [0.0, 0.0]
    shares, seen = torch.tensor([1 / 3, 2 / 3]).double(), torch.tensor([True, False])
    soft = posterior(total, shares, seen, "soft")
    assert_close(soft[0], torch.tensor([9 / 11, 2 / 11]).double())  # 1/3 · 9/16 against 2/3 · 1/16
    assert_close(soft[1], shares)  # without pairs, the prior
    assert posterior(total, shares, seen, "hard")[0].tolist() == [1.0, 0.0]


def test_a_soft_label_counts_by_its_probability():
    pairs = UserPairs(("a", "b"), torch.tensor([0]), torch.tensor([0.25], dtype=torch.float64))
    got = user_log_likelihood(torch.tensor([[LOG3]]).double(), pairs, torch.arange(1))[0, 0]
    assert got.item() == pytest.approx(0.25 * math.log(3 / 4) + 0.75 * math.log(1 / 4))


def test_prediction_by_hand():
    got = predictive_log_likelihood(
        torch.tensor([[LOG3, -LOG3]] * 3).double(),
        torch.tensor([1.0, 0.0, 0.5]).double(),
        torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]).double(),
    )
    expected = [math.log(0.5), math.log(1 / 4), 0.5 * math.log(1 / 4) + 0.5 * math.log(3 / 4)]
    assert_close(got, torch.tensor(expected).double())


def test_shares_of_fixed_rewards_reach_their_maximum_likelihood():
    # Eight users are certain to be of the first group, two of the second: the shares tend to 0.8 and 0.2.
    signs = torch.tensor([1.0] * 8 + [-1.0] * 2)
    pairs = UserPairs(tuple("abcdefghij"), torch.arange(10), (signs > 0).double())
    scorer = Fixed(torch.tensor([[50.0, -50.0]] * 10))
    mixture = run_em(scorer, pairs, torch.arange(10), torch.full((10, 2), 0.5))
    assert_close(mixture.shares, torch.tensor([0.8, 0.2]).double())
    assert_close(mixture.responsibilities[:, 0], (signs > 0).double())


@pytest.mark.parametrize("assignment", ["soft", "hard"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_objective_never_falls(plant, assignment, seed):
    x, pairs, _ = plant(pairs_per_user=8, seed=seed, size=1.0)
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(12, 3, generator=generator, dtype=torch.float64)
    scorer = LinearScorer(x, pairs.labels, 3)
    start = start / start.sum(1, keepdim=True)
    mixture = run_em(scorer, pairs, torch.arange(len(x)), start, assignment=assignment, rounds=15, tolerance=None)
    if (mixture.shares > 0).all():  # dropping a group may cost something
        gains = torch.tensor(mixture.trace).diff()
        assert (gains >= -1e-6).all(), mixture.trace
    assert_close(mixture.responsibilities.sum(1), torch.ones(12).double())
    assert mixture.shares.sum().item() == pytest.approx(1)


def test_the_order_of_groups_follows_the_start(plant):
    x, pairs, _ = plant()
    start = torch.full((12, 2), 0.1, dtype=torch.float64)
    start[:8, 0] = start[8:, 1] = 0.9
    rows = torch.arange(len(x))
    first = run_em(LinearScorer(x, pairs.labels, 2), pairs, rows, start)
    swapped = run_em(LinearScorer(x, pairs.labels, 2), pairs, rows, start.flip(1))
    assert_close(first.responsibilities, swapped.responsibilities.flip(1))
    assert_close(torch.tensor(first.trace), torch.tensor(swapped.trace))


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_an_empty_group_is_dropped_and_the_log_says_so(plant, caplog, assignment):
    x, pairs, _ = plant()
    start = torch.zeros(12, 3, dtype=torch.float64)
    start[:8, 0] = start[8:, 1] = 1.0  # nobody begins in the third
    with caplog.at_level(logging.INFO):
        mixture = run_em(LinearScorer(x, pairs.labels, 3), pairs, torch.arange(len(x)), start, assignment=assignment)
    assert mixture.shares[2] == 0
    assert (mixture.responsibilities[:, 2] == 0).all()
    assert_close(mixture.shares, torch.tensor([8 / 12, 4 / 12, 0]).double(), atol=1e-3, rtol=0)
    assert "no users left and is dropped: 2 remain" in caplog.text


def test_users_without_pairs_get_the_shares_and_do_not_count(plant):
    x, pairs, _ = plant()
    more = UserPairs((*pairs.users, "silent"), pairs.user_of, pairs.labels)
    rows = torch.arange(len(x))
    start = torch.full((13, 2), 0.1, dtype=torch.float64)
    start[:8, 0] = start[8:, 1] = 0.9
    for assignment in ("soft", "hard"):
        with_silent = run_em(LinearScorer(x, pairs.labels, 2), more, rows, start, assignment=assignment)
        without = run_em(LinearScorer(x, pairs.labels, 2), pairs, rows, start[:12], assignment=assignment)
        assert_close(with_silent.shares, without.shares)
        assert_close(with_silent.responsibilities[12], with_silent.shares)
