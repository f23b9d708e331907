import pytest
import torch
from loss_cases import pairs, tensor, value

from moalign.training.losses import Hinge


def test_hand_computed():
    scores = pairs([1.0, 1.0, 4.0, -1.0], [0.0] * 4, scale=0.5, margin=tensor(0.0, 0.25, 0.0, 0.0))
    assert value(Hinge(), scores, 1, 1, 1, 1) == [0.5, 0.75, 0.0, 1.5]
    assert value(Hinge(), scores, 0, 0, 0, 0) == [1.5, 1.25, 3.0, 0.5]
    assert value(Hinge(), scores, 0.5, 0.75, 0.25, 0.5) == pytest.approx([1.0, 0.875, 2.25, 1.0])


def test_leaves_a_won_pair_alone():
    h = tensor(1.1, 0.9).requires_grad_()
    (slope,) = torch.autograd.grad(Hinge()(pairs(h, [0.0, 0.0]), torch.ones(2)).sum(), h)
    assert slope.tolist() == [0.0, -1.0]
