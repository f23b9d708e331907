import math

import pytest
import torch

from reward_heads.users.choose import Likelihood, choose_number, clustered_mean, likelihood_table


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def test_clustered_error_by_hand():
    # Users with sums (1 + 3) and (0): mean 4/3; deviations 4 − 2 · 4/3 = 4/3 and −4/3; se² = 2 · 2 · 16/9 / 9.
    mean, error = clustered_mean(values(1, 3, 0), torch.tensor([7, 7, 2]))
    assert mean == pytest.approx(4 / 3)
    assert error == pytest.approx((64 / 81) ** 0.5)


def test_one_pair_per_user_is_the_ordinary_error():
    drawn = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, error = clustered_mean(drawn, torch.arange(50))
    assert error == pytest.approx(float(drawn.std()) / 50**0.5)


def test_repeating_every_pair_of_a_user_proves_nothing_more():
    drawn = torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = clustered_mean(drawn, torch.arange(20))
    assert clustered_mean(drawn.repeat(3), torch.arange(20).repeat(3)) == pytest.approx(once)


def test_a_single_user_has_no_error():
    assert clustered_mean(values(1, 2), torch.zeros(2, dtype=torch.long))[1] == math.inf


def row(groups, behind, error, left=None):
    return Likelihood(groups, left or groups, -0.6 - behind, 0.01, behind, error)


def test_takes_the_fewest_groups_within_one_standard_error():
    table = [row(1, 0.05, 0.01), row(2, 0.004, 0.005), row(3, 0.0, 0.0)]
    assert choose_number(table) == 2
    assert choose_number(table, standard_errors=0.5) == 3
    assert choose_number(table, standard_errors=5.1) == 1
    assert choose_number([row(1, 0.0, 0.0), row(2, 0.01, 0.005)], standard_errors=0) == 1


def test_a_run_that_lost_groups_is_not_chosen():
    pairs = {1: values(-1, -1), 2: values(-0.5, -0.5), 3: values(-0.4, -0.4)}
    table = likelihood_table(pairs, {1: 1, 2: 2, 3: 2}, torch.tensor([0, 1]))
    assert [r.behind for r in table] == pytest.approx([0.5, 0.0, -0.1])
    assert choose_number(table) == 2
    lost = likelihood_table({3: values(-0.4, -0.4)}, {3: 2}, torch.tensor([0, 1]))
    assert choose_number(lost) == 3  # there is no other


def test_the_difference_is_paired():
    noise = 5 * torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wobble = 0.01 * torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    table = likelihood_table({1: noise, 2: noise + 0.1 + wobble}, {1: 1, 2: 2}, torch.arange(40))
    assert table[0].standard_error > 0.5
    assert table[0].behind == pytest.approx(0.1, abs=0.01)
    assert table[0].behind_error < 0.01
    assert choose_number(table) == 2
