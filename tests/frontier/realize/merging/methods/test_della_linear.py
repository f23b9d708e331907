import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError


def test_expectation_is_the_delta(merge):
    torch.manual_seed(0)
    base, model = torch.randn(4, 6), torch.randn(4, 6)
    settings = {"weight": 0.7, "density": 0.5, "epsilon": 0.2, "rescale_norm": "probability"}
    draws = torch.stack([merge("della_linear", [model], base, seed=s, **settings) for s in range(3000)])
    expected = merge("task_arithmetic", [model], base, weight=0.7)
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert ((draws.mean(dim=0) - expected).abs() < 5 * error).all()


def test_large_entries_are_kept_more_often(merge):
    model = torch.arange(1.0, 1001.0)
    got = merge("della_linear", [model], torch.zeros(1000), weight=1, density=0.5, epsilon=0.45, rescale=False)
    kept = (got != 0).float()
    assert kept[:200].mean() < 0.25
    assert kept[-200:].mean() > 0.75


def test_restores_the_l1_norm(merge):
    torch.manual_seed(0)
    model = torch.randn(20, 30)
    got = merge("della_linear", [model], torch.zeros(20, 30), weight=1, density=0.4)
    assert_close(got.abs().sum(), model.abs().sum())


def test_limits(merge, models):
    tensors, base = models
    weights = [0.2, 0.3, 0.5]
    full = merge("della_linear", tensors, base, weight=weights)
    assert_close(full, merge("task_arithmetic", tensors, base, weight=weights))
    assert torch.equal(merge("della_linear", tensors, base, weight=weights, density=0), base)
    half = merge("della_linear", tensors, base, weight=weights, density=0.5, lambda_=2)
    assert_close(half - base, 2 * (merge("della_linear", tensors, base, weight=weights, density=0.5) - base))


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.15), (0.9, 0.1), (0.95, 0.15)])
def test_refuses_probabilities_outside_of_zero_and_one(merge, density, epsilon):
    with pytest.raises(InputError, match=f"model 1 has density {density} and epsilon {epsilon}"):
        merge("della_linear", [torch.ones(2)] * 2, torch.zeros(2), weight=1, density=[0.5, density], epsilon=epsilon)
