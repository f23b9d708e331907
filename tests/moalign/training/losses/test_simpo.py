import math
from dataclasses import replace

import pytest
import torch
from loss_cases import tensor, value

from frontier.errors import InputError
from moalign.training.losses import PairScores, SimPo

LOG_3 = math.log(3)
SCORES = PairScores(
    policy_a=tensor(-2.0), policy_b=tensor(-8.0), length_a=tensor(2.0), length_b=tensor(4.0), scale=LOG_3
)  # (-1 + 2) log 3


def test_hand_computed():
    assert value(SimPo(gamma=0.0), SCORES, 1) == pytest.approx([math.log(4 / 3)])
    assert value(SimPo(gamma=2 * LOG_3), SCORES, 1) == pytest.approx([math.log(4)])
    assert value(SimPo(gamma=2 * LOG_3), SCORES, 0) == pytest.approx([math.log(28)])  # sigmoid(-3 log 3) = 1 / 28
    assert value(SimPo(gamma=LOG_3), replace(SCORES, margin=tensor(LOG_3)), 1) == pytest.approx([math.log(4)])


def test_knows_no_reference():
    with_one = replace(SCORES, reference_a=tensor(-9.0), reference_b=tensor(-1.0))
    assert value(SimPo(), with_one, 1) == value(SimPo(), SCORES, 1)


def test_a_tie_is_at_no_difference_whatever_the_target():
    even = replace(SCORES, policy_b=tensor(-4.0).requires_grad_())
    (slope,) = torch.autograd.grad(SimPo(gamma=3.0)(even, tensor(0.5)).sum(), even.policy_b)
    assert slope.item() == pytest.approx(0.0)


@pytest.mark.parametrize("gamma", [-0.1, math.inf, math.nan])
def test_refuses_bad_gamma(gamma):
    with pytest.raises(InputError, match="gamma must be finite and not negative"):
        SimPo(gamma)


def test_needs_lengths():
    with pytest.raises(InputError, match="length_a and length_b are missing"):
        SimPo()(replace(SCORES, length_a=None, length_b=None), tensor(1.0))
