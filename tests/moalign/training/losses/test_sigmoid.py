import math

import pytest
import torch
from loss_cases import pairs, tensor, value
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses import ConservativeSigmoid, Sigmoid, SigmoidNorm

LOG_3 = math.log(3)  # sigmoid(log 3) = 3 / 4


def test_sigmoid_hand_computed():
    scores = pairs([LOG_3, 4 * LOG_3], [0.0, 2 * LOG_3], scale=tensor(2.0, 0.5), margin=tensor(LOG_3, 2 * LOG_3))
    assert scores.difference().tolist() == pytest.approx([LOG_3, -LOG_3])
    assert value(Sigmoid(), scores, 1, 1) == pytest.approx([math.log(4 / 3), math.log(4)])
    assert value(Sigmoid(), scores, 0, 0.5) == pytest.approx([math.log(4), math.log(4 / 3) / 2 + math.log(4) / 2])


def test_sigmoid_norm_divides_by_lengths_but_not_the_margin():
    lengths = {"length_a": tensor(2.0), "length_b": tensor(4.0)}
    scores = pairs([4 * LOG_3], [4 * LOG_3], scale=2.0, margin=tensor(LOG_3), **lengths)  # 2 (2 - 1) log 3 - log 3
    assert value(SigmoidNorm(), scores, 1) == pytest.approx([math.log(4 / 3)])
    assert value(Sigmoid(), scores, 1) == pytest.approx([math.log(4)])


def test_cdpo_is_dpo_on_smoothed_labels():
    scores = pairs([0.3, -1.0, 2.0], [0.1, 0.5, -1.0], margin=tensor(0.0, 0.5, -2.0))
    p = tensor(1.0, 0.0, 0.7)
    assert_close(ConservativeSigmoid(0.2)(scores, p), Sigmoid()(scores, tensor(0.8, 0.2, 0.2 + 0.6 * 0.7)))
    assert_close(ConservativeSigmoid(0.0)(scores, p), Sigmoid()(scores, p))


def test_cdpo_stops_where_its_doubt_is_met():
    h = tensor(math.log(9)).requires_grad_()  # 0.9 / 0.1
    (slope,) = torch.autograd.grad(ConservativeSigmoid(0.1)(pairs(h, tensor(0.0)), tensor(1.0)).sum(), h)
    assert abs(slope.item()) < 1e-12
    assert value(ConservativeSigmoid(0.1), pairs([math.log(9)], [0.0]), 1) == pytest.approx(
        [-0.9 * math.log(0.9) - 0.1 * math.log(0.1)]
    )


def test_cdpo_refuses_more_doubt_than_belief():
    with pytest.raises(InputError, match=r"label_smoothing must be in \[0, 0\.5\), found 0\.5"):
        ConservativeSigmoid(0.5)
