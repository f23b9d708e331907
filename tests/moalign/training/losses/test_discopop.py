import math

import pytest
import torch
from loss_cases import pairs, tensor, value
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses import DiscoPop, Sigmoid


def test_hand_computed():
    assert value(DiscoPop(), pairs([0.0], [0.0]), 1) == pytest.approx([0.5 * math.log(2) + 0.5])
    # tau = 1, d = log 3: 1/4 of log(4/3) and 3/4 of 1/3
    assert value(DiscoPop(1.0), pairs([math.log(3)], [0.0]), 1) == pytest.approx([math.log(4 / 3) / 4 + 0.25])


def test_logistic_where_it_trails_and_exponential_where_it_leads():
    trails, leads = pairs([-2.0], [0.0]), pairs([2.0], [0.0])
    assert_close(DiscoPop()(trails, tensor(1.0)), Sigmoid()(trails, tensor(1.0)), atol=1e-9, rtol=0)
    assert value(DiscoPop(), leads, 1) == pytest.approx([math.exp(-2)])


def test_has_a_local_minimum_below_zero():
    h = torch.linspace(-0.3, 0.05, 36, dtype=torch.float64)
    losses = DiscoPop()(pairs(h, torch.zeros(36)), torch.ones(36))
    assert h[losses.argmin()].item() == pytest.approx(-0.12, abs=0.011)


def test_a_wide_blend_is_finite_where_the_exponential_rules():
    h = torch.tensor([-1e3, -90.0]).requires_grad_()
    scores = pairs(h, torch.zeros(2))
    losses = DiscoPop(4.0)(scores, torch.ones(2))
    losses.sum().backward()
    assert losses.isfinite().all()
    assert h.grad.isfinite().all()


@pytest.mark.parametrize("tau", [0.0, -1.0, math.inf, math.nan])
def test_refuses_bad_tau(tau):
    with pytest.raises(InputError, match="tau must be positive and finite"):
        DiscoPop(tau)
