import math

import pytest
import torch
from loss_cases import pairs, tensor, value

from moalign.training.losses import NcaPair

LOG_3 = math.log(3)


def test_hand_computed():
    scores = pairs([2 * LOG_3], [-2 * LOG_3], scale=0.5)  # sigmoids 3 / 4 and 1 / 4
    assert value(NcaPair(), scores, 1) == pytest.approx([math.log(4 / 3) + math.log(4) / 2 + math.log(4 / 3) / 2])
    assert value(NcaPair(), scores, 0) == pytest.approx([math.log(4) + math.log(4) / 2 + math.log(4 / 3) / 2])


def test_keeps_the_better_one_at_a_finite_height():
    h_a = tensor(math.log(2)).requires_grad_()  # -sigma(-h) + sigma(h) / 2 = 0 at sigma(h) = 2 / 3
    (slope,) = torch.autograd.grad(NcaPair()(pairs(h_a, [0.0]), tensor(1.0)).sum(), h_a)
    assert slope.item() == pytest.approx(0.0)
