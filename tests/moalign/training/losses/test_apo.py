import math

import pytest
import torch
from loss_cases import pairs, tensor, value

from moalign.training.losses import ApoDown, ApoZero

LOG_3 = math.log(3)
SCORES = pairs([2 * LOG_3], [-2 * LOG_3], scale=0.5)  # sigmoids 3 / 4 and 1 / 4; of the difference 9 / 10


def test_hand_computed():
    assert value(ApoZero(), SCORES, 1) == pytest.approx([0.25 + 0.25])
    assert value(ApoZero(), SCORES, 0) == pytest.approx([0.75 + 0.75])
    assert value(ApoDown(), SCORES, 1) == pytest.approx([0.75 + 0.1])
    assert value(ApoDown(), SCORES, 0) == pytest.approx([0.25 + 0.9])


@pytest.mark.parametrize(("loss", "signs"), [(ApoZero(), (-1, 1)), (ApoDown(), (0, 1))], ids=repr)
def test_which_way_the_completions_go(loss, signs):
    """Zero: the better one up, the other down. Down: the other down; at h = 0 the pulls on the better one cancel."""
    h_a, h_b = tensor(0.0).requires_grad_(), tensor(0.0).requires_grad_()
    slopes = torch.autograd.grad(loss(pairs(h_a, h_b), tensor(1.0)).sum(), (h_a, h_b))
    assert tuple(slope.sign().item() for slope in slopes) == signs


def test_apo_down_lowers_both_once_they_are_told_apart():
    h_a, h_b = tensor(0.0).requires_grad_(), tensor(-2.0).requires_grad_()
    slopes = torch.autograd.grad(ApoDown()(pairs(h_a, h_b), tensor(1.0)).sum(), (h_a, h_b))
    assert all(slope > 0 for slope in slopes)
