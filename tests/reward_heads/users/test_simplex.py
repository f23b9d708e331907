"""Populations on the simplex: coordinates, slopes, refusals."""

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import Population
from reward_heads.users.simplex import contrasts, coordinates


def normal(size, names="abcd", **more):
    return Population(tuple(names), torch.zeros(size).double(), torch.eye(size).double(), **more)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_contrasts_are_orthonormal_and_sum_to_zero(count):
    basis = contrasts(count)
    assert_close(basis.T @ basis, torch.eye(count - 1).double())
    assert_close(basis.sum(dim=0), torch.zeros(count - 1).double())


def test_weights_and_coordinates_are_inverse():
    weights = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
    assert_close(normal(3).weights(coordinates(weights)), weights)
    assert coordinates(torch.full((1, 3), 1 / 3)).abs().max() < 1e-12


@pytest.mark.parametrize("shared", [True, False])
def test_the_jacobian_is_the_derivative(shared):
    population = normal(3, log_temperature=0.7) if shared else normal(4, log_temperature=None)
    theta = torch.linspace(-1, 1, population.size).double()
    assert_close(population.jacobian(theta), torch.autograd.functional.jacobian(population.tastes, theta))
    assert_close(population.tastes(theta).sum().log().item(), 0.7 if shared else 1.0)


def test_a_new_user_differs_by_the_error_of_the_mean_too():
    assert_close(normal(3, users=10).spread, 1.1 * torch.eye(3).double())
    assert_close(normal(3).spread, torch.eye(3).double())


def test_refuses():
    with pytest.raises(InputError, match=r"mean \[3\] and a covariance \[3, 3\], found \[4\]"):
        normal(4)
    with pytest.raises(InputError, match="positive definite"):
        Population(("a", "b", "c"), torch.zeros(2).double(), torch.ones(2, 2).double())
    with pytest.raises(InputError, match="at least one user"):
        normal(3, users=0)
