import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.losses.bradley_terry import bradley_terry
from reward_heads.losses.davidson import davidson
from reward_heads.losses.label_noise import CORRECTIONS, robust
from reward_heads.losses.outcomes import expected_cost

DELTA = torch.linspace(-3, 3, 7, dtype=torch.float64)
RATE = torch.tensor(0.2, dtype=torch.float64)


def test_by_hand():
    # Delta = log 3: costs log(4/3) and log 4 of a win and a loss; a fifth of the labels is flipped.
    win, lose = math.log(4 / 3), math.log(4)
    outcomes = bradley_terry(torch.tensor(math.log(3.0), dtype=torch.float64))
    assert robust(outcomes, RATE, "unbiased").first.item() == pytest.approx((0.8 * win - 0.2 * lose) / 0.6)
    assert robust(outcomes, RATE, "conservative").first.item() == pytest.approx(0.8 * win + 0.2 * lose)
    assert robust(outcomes, RATE, "forward").first.item() == pytest.approx(-math.log(0.8 * 3 / 4 + 0.2 / 4))
    assert robust(outcomes, RATE, "forward").second.item() == pytest.approx(-math.log(0.8 / 4 + 0.2 * 3 / 4))


@pytest.mark.parametrize("label", [0.0, 1.0, 0.3])
def test_unbiased_has_the_clean_loss_as_its_mean_over_flips(label):
    outcomes = bradley_terry(DELTA, 0.4)
    noisy, label = robust(outcomes, RATE), torch.full_like(DELTA, label)
    mean = (1 - RATE) * expected_cost(noisy, label) + RATE * expected_cost(noisy, 1 - label)
    assert_close(mean, expected_cost(outcomes, label))


def test_forward_is_best_at_the_clean_score():
    # Where a is better with probability 3/4 and a fifth of the labels is flipped, a is *recorded* as better with 0.8 · 3/4 + 0.2 · 1/4 = 0.65.
    for correction, best in (("forward", math.log(3)), ("unbiased", math.log(3)), ("conservative", None)):
        delta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([delta], max_iter=100, line_search_fn="strong_wolfe")

        def closure(delta=delta, optimizer=optimizer, correction=correction):
            optimizer.zero_grad()
            cost = expected_cost(robust(bradley_terry(delta), RATE, correction), torch.tensor(0.65))
            cost.backward()
            return cost

        optimizer.step(closure)
        # Smoothed, the recorded share is smoothed once more: 0.65 · 0.6 + 0.2 = 0.59.
        assert delta.item() == pytest.approx(math.log(0.59 / 0.41) if best is None else best, abs=1e-5)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_without_noise_nothing_changes_and_ties_never_do(correction):
    outcomes = davidson(DELTA, torch.tensor(0.3, dtype=torch.float64))
    got = robust(outcomes, torch.tensor(0.0, dtype=torch.float64), correction)
    for one, other in zip(got, outcomes, strict=True):
        assert_close(one, other)
    assert robust(outcomes, RATE, correction).tie is outcomes.tie


def test_forward_is_bounded_and_has_a_gradient_without_noise():
    delta = torch.tensor([1e3, -1e3], requires_grad=True)
    got = robust(bradley_terry(delta), torch.tensor([0.2, 0.0]), "forward")
    assert_close(got.first, torch.tensor([-math.log(0.8), 1e3]))
    got.first.sum().backward()
    assert_close(delta.grad, torch.tensor([0.0, -1.0]))


def test_refuses_another_correction():
    with pytest.raises(InputError, match="noise_correction 'forwards': did you mean 'forward'"):
        robust(bradley_terry(DELTA), RATE, "forwards")
