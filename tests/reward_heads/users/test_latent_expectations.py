import math

import pytest
import torch
from torch.testing import assert_close

from reward_heads.users.latent_expectations import chance, chance_and_slope, expected_log_likelihood


def by_grid(function, mean, variance):
    at = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    weight = torch.exp(-0.5 * at**2)
    return float((function(mean + math.sqrt(variance) * at) * weight).sum() / weight.sum())


def slope(x):
    return torch.sigmoid(x) * torch.sigmoid(-x)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.0), (0.7, 0.3), (-3.0, 4.0), (5.0, 100.0), (-20.0, 1.0)])
def test_are_the_integrals(mean, variance):
    m, v = torch.tensor([mean], dtype=torch.float64), torch.tensor([variance], dtype=torch.float64)
    found, found_slope = chance_and_slope(m, v)
    assert found.item() == pytest.approx(by_grid(torch.sigmoid, mean, variance), abs=2e-6)
    assert found_slope.item() == pytest.approx(by_grid(slope, mean, variance), abs=1e-5)
    for label in (0.0, 0.5, 1.0):
        exact = label * mean - by_grid(torch.nn.functional.softplus, mean, variance)
        assert expected_log_likelihood(m, v, torch.tensor([label])).item() == pytest.approx(exact, abs=1e-5)
    assert_close(chance(m, v), found)


def test_the_sides_are_equal():
    m, v = torch.tensor([1.3], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    assert_close(chance(m, v) + chance(-m, v), torch.ones(1, dtype=torch.float64))
    ll = expected_log_likelihood(m, v, torch.ones(1)), expected_log_likelihood(-m, v, torch.zeros(1))
    assert_close(*ll)
