import math

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from moalign.training.direct_loss import batch_loss
from moalign.training.losses import find_loss

NAN = math.nan
SIGMOID = [(find_loss("sigmoid"), 1.0)]


def loss_of(weights, labels, differences, ratios=None, losses=SIGMOID, beta=0.5, min_weight=0.05, uniform=None):
    weights, labels, differences = (torch.tensor(x) for x in (weights, labels, differences))
    ratios = torch.tensor([[0.4, -0.2]] * len(weights)) if ratios is None else ratios
    zeros = torch.zeros(len(weights), 2)
    return batch_loss(losses, beta, ratios - 3, zeros - 3, zeros + 2, weights, labels, differences, min_weight, uniform)


def nll(d):
    return math.log(1 + math.exp(-d))


def test_modpo_by_hand():
    """Two objectives at (0.75, 0.25), β 0.5, h_a - h_b = 0.6, Δr = (2, -1); label: a is better for the first, b for the second."""
    got = loss_of([[0.75, 0.25]], [[1.0, 0.0]], [[2.0, -1.0]])
    d_first = 0.5 / 0.75 * 0.6 - 0.25 * -1.0 / 0.75  # 0.4 + 1/3
    d_second = 0.5 / 0.25 * 0.6 - 0.75 * 2.0 / 0.25  # 1.2 - 6
    assert_close(got.difference, torch.tensor([[d_first, d_second]]))
    assert_close(got.total(), torch.tensor(0.75 * nll(d_first) + 0.25 * nll(-d_second)))
    assert_close(sum(got.by_objective()), got.total())


def test_the_expectation_is_the_mean_of_what_is_drawn():
    weights, labels, differences = [0.5, 0.3, 0.2], [1.0, 0.0, 0.7], [0.3, -0.4, 0.1]
    expected = loss_of([weights], [labels], [differences]).total()
    n = 50_000
    uniform = torch.rand(n, generator=torch.Generator().manual_seed(0))
    sampled = loss_of([weights] * n, [labels] * n, [differences] * n, uniform=uniform)
    assert (sampled.share.sum(1) == 1).all()
    assert sampled.each.sum(1).std() > 0.1
    assert_close(sampled.total(), expected, atol=0.01, rtol=0)


def test_rows_without_anything_to_train_leave_no_trace():
    ratios = torch.tensor([[0.4, -0.2]] * 3, requires_grad=True)
    got = loss_of(
        [[0.75, 0.25], [0.75, 0.25], [0.98, 0.02]],
        [[1.0, NAN], [NAN, 1.0], [NAN, 1.0]],
        [[2.0, 1.0], [NAN, 1.0], [2.0, 1.0]],
        ratios,
    )
    assert got.used.tolist() == [True, False, False]
    assert_close(got.total(), torch.tensor(nll(0.5 / 0.75 * 0.6 - 0.25 / 0.75)))
    got.total().backward()
    assert ratios.grad[0].abs().min() > 0
    assert torch.equal(ratios.grad[1:], torch.zeros(2, 2))


def test_a_batch_without_anything_to_train_has_loss_0_and_gradient_0():
    ratios = torch.tensor([[0.4, -0.2]], requires_grad=True)
    got = loss_of([[0.75, 0.25]], [[NAN, NAN]], [[2.0, 1.0]], ratios)
    assert got.by_objective() == [None, None]
    got.total().backward()
    assert got.total() == 0
    assert torch.equal(ratios.grad, torch.zeros(1, 2))


def test_the_gradient_does_not_explode_with_small_weights():
    """A share w_k times a slope β / w_k: β, whatever the weight."""
    for weight in (0.5, 0.05, 0.001):
        ratios = torch.zeros(1, 2, requires_grad=True)
        loss_of([[1 - weight, weight]], [[NAN, 1.0]], [[0.0, 0.0]], ratios, min_weight=1e-4).by_objective()
        both = loss_of([[1 - weight, weight]], [[1.0, 1.0]], [[0.0, 0.0]], ratios, min_weight=1e-4)
        both.by_objective()[1].backward()
        assert_close(ratios.grad[0, 0], torch.tensor(-0.5 * 0.5))  # β σ(0)


def test_losses_are_summed_by_their_weights():
    mixed = [(find_loss("sigmoid"), 0.5), (find_loss("hinge"), 2.0)]
    got = loss_of([[1.0]], [[1.0]], [[NAN]], losses=mixed)
    assert_close(got.total(), torch.tensor(0.5 * nll(0.3) + 2 * 0.7))


@pytest.mark.parametrize(("name", "flipped"), [("sigmoid", 0.0), ("robust", 0.1)])
def test_the_population_minimiser_is_the_optimum_of_the_weighted_sum(name, flipped):
    """Free log-ratios over six completions, exact Bradley-Terry labels on all pairs: π ∝ π_ref exp(w·r/β)."""
    torch.manual_seed(0)
    weights, beta = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.5
    rewards = torch.randn(6, 3, dtype=torch.float64)
    log_ref = torch.randn(6, dtype=torch.float64).log_softmax(0)
    a, b = torch.triu_indices(6, 6, offset=1)
    differences = rewards[a] - rewards[b]
    labels = flipped + (1 - 2 * flipped) * torch.sigmoid(differences)
    logits = log_ref.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-14
    )
    losses = [(find_loss(name), 1.0)]

    def step():
        optimizer.zero_grad()
        log_pi = logits.log_softmax(0)
        policy, reference = (torch.stack([x[a], x[b]], 1) for x in (log_pi, log_ref))
        rows = weights.expand(len(a), -1)
        found = batch_loss(losses, beta, policy, reference, torch.ones_like(policy), rows, labels, differences, 0.05)
        loss = found.total()
        loss.backward()
        return loss

    optimizer.step(step)
    expected = (log_ref + rewards @ weights / beta).softmax(0)
    assert_close(logits.softmax(0).detach(), expected, atol=1e-3, rtol=0)
    assert not torch.allclose(functional.softmax(log_ref, 0), expected, atol=0.05)
