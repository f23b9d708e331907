"""Bradley-Terry, Rao-Kupper and Davidson: by hand, their limits, and what all three share."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from reward_heads.losses.bradley_terry import bradley_terry
from reward_heads.losses.davidson import davidson
from reward_heads.losses.ordinal import ordinal
from reward_heads.losses.outcomes import Outcomes, expected_cost
from reward_heads.losses.rao_kupper import rao_kupper

DELTA = torch.tensor([-3.0, -0.5, 0.0, 1.2, 4.0], dtype=torch.float64)
LOG_2 = torch.tensor(math.log(2.0), dtype=torch.float64)
NO_TIES = {"rao_kupper": torch.tensor(0.0), "davidson": torch.tensor(-math.inf)}
MODELS = {"rao_kupper": rao_kupper, "davidson": davidson}


def test_rao_kupper_by_hand():
    # pi_a = 3, pi_b = 1, theta = 2: 3/5, 1/7 and 3 · 3 / (5 · 7)
    got = rao_kupper(torch.tensor(math.log(3.0), dtype=torch.float64), LOG_2)
    assert_close(torch.stack(got).neg().exp(), torch.tensor([3 / 5, 1 / 7, 9 / 35], dtype=torch.float64))


def test_davidson_by_hand():
    # pi_a = 4, pi_b = 1, nu = 2: 4/9, 1/9 and 2 · 2 / 9
    got = davidson(torch.tensor(math.log(4.0), dtype=torch.float64), LOG_2)
    assert_close(torch.stack(got).neg().exp(), torch.tensor([4 / 9, 1 / 9, 4 / 9], dtype=torch.float64))


def test_a_margin_by_hand():
    # sigma(log 3 - log 3) = 1/2 for the winner, sigma(-log 3 - log 3) = 1/10 for the other.
    got = bradley_terry(torch.tensor(math.log(3.0)), math.log(3.0))
    assert_close(torch.stack(got[:2]).neg().exp(), torch.tensor([1 / 2, 1 / 10]))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strength", [1e-3, 0.3, 2.0, 40.0])
def test_the_three_outcomes_are_all_there_is(model, strength):
    got = MODELS[model](DELTA, torch.tensor(strength, dtype=torch.float64))
    assert_close(torch.stack(got).neg().exp().sum(0), torch.ones_like(DELTA))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("margins", [0.0, 0.7])
def test_without_ties_it_is_bradley_terry(model, margins):
    got, expected = MODELS[model](DELTA, NO_TIES[model], margins), bradley_terry(DELTA, margins)
    for labels in (torch.ones_like(DELTA), torch.full_like(DELTA, 0.5), torch.full_like(DELTA, 0.3)):
        assert_close(expected_cost(got, labels), expected_cost(expected, labels))


@pytest.mark.parametrize("model", MODELS)
def test_a_margin_leaves_ties_alone_and_zero_changes_nothing(model):
    plain, none, some = (MODELS[model](DELTA, LOG_2, m) for m in (0.0, torch.zeros_like(DELTA), 0.5))
    for one, other in zip(plain, none, strict=True):
        assert one.equal(other)
    assert some.tie.equal(plain.tie)
    assert_close(some.first, MODELS[model](DELTA - 0.5, LOG_2).first)
    assert_close(some.second, MODELS[model](DELTA + 0.5, LOG_2).second)


def test_the_label_of_a_tie_is_exactly_a_half():
    outcomes = Outcomes(*torch.tensor([[1.0], [3.0], [10.0]]))
    cost = [expected_cost(outcomes, torch.tensor([p])).item() for p in (1.0, 0.0, 0.5, 0.25)]
    assert cost == [1.0, 3.0, 10.0, 2.5]
    assert expected_cost(outcomes._replace(tie=None), torch.tensor([0.5])).item() == 2.0


def test_rao_kupper_is_an_ordinal_model_of_three_levels():
    got = rao_kupper(DELTA, LOG_2)
    for level, cost in enumerate((got.second, got.tie, got.first)):
        levels = torch.full((len(DELTA), 1), level)
        assert_close(ordinal(DELTA[:, None], levels, torch.tensor([[-1.0, 1.0]]) * LOG_2)[:, 0], cost)


def test_davidsons_odds_do_not_depend_on_ties():
    for nu in (0.1, 3.0):
        got = davidson(DELTA, torch.tensor(nu, dtype=torch.float64).log())
        assert_close(got.second - got.first, DELTA)


@settings(deadline=None, max_examples=40)
@given(st.floats(-30, 30), st.floats(1e-3, 10), st.floats(0, 3))
def test_swapping_the_sides_swaps_the_outcomes(delta, strength, margin):
    delta, strength = torch.tensor(delta), torch.tensor(strength)
    for model in MODELS.values():
        one, other = model(delta, strength, margin), model(-delta, strength, margin)
        assert_close(one.first, other.second)
        assert_close(one.tie, other.tie)
        assert one.first >= 0
        assert one.tie >= 0


@pytest.mark.parametrize("model", MODELS)
def test_survives_huge_differences_and_strengths(model):
    delta = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    for strength in (1e-6, 100.0):
        free = torch.tensor(strength, requires_grad=True)
        costs = torch.stack(MODELS[model](delta, free))
        assert costs.isfinite().all()
        costs.sum().backward()
        assert delta.grad.isfinite().all()
        assert free.grad.isfinite()
