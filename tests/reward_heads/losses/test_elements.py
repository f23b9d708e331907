import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from reward_heads.losses import element_losses, label_counts, mean_loss

NAN = math.nan


def test_bradley_terry_by_hand():
    differences = torch.tensor([[0.0, math.log(3.0)]])
    targets = torch.tensor([[1.0, 0.25]])
    # sigma(0) = 1/2; sigma(log 3) = 3/4, so 0.25 log(4/3) + 0.75 log 4
    expected = torch.tensor([[math.log(2.0), 0.25 * math.log(4 / 3) + 0.75 * math.log(4)]])
    assert_close(element_losses(differences, targets, torch.tensor([True])), expected)


def test_ratings_by_hand():
    got = element_losses(torch.tensor([[1.5, -1.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([False]))
    assert_close(got, torch.tensor([[2.25, 4.0]]))


def test_the_right_order_costs_less():
    won = element_losses(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([True]))
    lost = element_losses(torch.tensor([[-2.0]]), torch.tensor([[1.0]]), torch.tensor([True]))
    assert won.item() < lost.item()


def test_survives_huge_differences():
    got = element_losses(torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 0.0]]), torch.tensor([True]))
    assert_close(got, torch.tensor([[1e4, 0.0]]))


@pytest.mark.parametrize("is_pair", [True, False])
def test_a_missing_label_has_exactly_zero_loss_and_gradient(is_pair):
    predictions = torch.tensor([[0.3, -0.7], [1.1, 0.2]], requires_grad=True)
    targets = torch.tensor([[1.0, NAN], [NAN, NAN]])
    losses = element_losses(predictions, targets, torch.tensor([is_pair, is_pair]))
    mean_loss(losses, label_counts(targets), torch.ones(2)).backward()
    assert losses[targets.isnan()].eq(0).all()
    assert predictions.grad[targets.isnan()].eq(0).all()
    assert predictions.grad[0, 0] != 0


def test_mean_is_over_known_labels_then_over_labelled_objectives():
    losses = torch.tensor([[1.0, 0.0, 0.0], [3.0, 6.0, 0.0]])
    counts = torch.tensor([2, 1, 0])
    assert_close(mean_loss(losses, counts, torch.ones(3)), torch.tensor((2.0 + 6.0) / 2))
    assert_close(mean_loss(losses, counts, torch.tensor([3.0, 1.0, 9.0])), torch.tensor((3 * 2.0 + 6.0) / 4))


def test_a_batch_without_any_label_is_zero():
    predictions = torch.ones(2, 3, requires_grad=True)
    targets = torch.full((2, 3), NAN)
    loss = mean_loss(
        element_losses(predictions, targets, torch.tensor([True, False])), label_counts(targets), torch.ones(3)
    )
    loss.backward()
    assert loss.item() == 0
    assert predictions.grad.eq(0).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_properties(seed, rows):
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.randn(rows, 3, generator=generator)
    targets = torch.rand(rows, 3, generator=generator)
    targets[torch.rand(rows, 3, generator=generator) < 0.4] = NAN
    is_pair = torch.rand(rows, generator=generator) < 0.5
    weights = torch.rand(3, generator=generator) + 0.1
    losses, counts = element_losses(predictions, targets, is_pair), label_counts(targets)
    assert losses.ge(0).all()
    whole = mean_loss(losses, counts, weights)
    # Parts of a batch, divided by the whole batch's counts, add up.
    assert_close(mean_loss(losses[:1], counts, weights) + mean_loss(losses[1:], counts, weights), whole)
    # Swapping a and b changes nothing; neither does the order of the objectives.
    swapped = element_losses(-predictions, 1 - targets, torch.ones(rows, dtype=torch.bool))
    assert_close(
        swapped, element_losses(predictions, targets, torch.ones(rows, dtype=torch.bool)), atol=1e-5, rtol=1e-5
    )
    turn = [2, 0, 1]
    turned = element_losses(predictions[:, turn], targets[:, turn], is_pair)
    assert_close(mean_loss(turned, counts[turn], weights[turn]), whole)
