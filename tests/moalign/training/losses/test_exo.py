import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import pairs, tensor, value

from frontier.errors import InputError
from moalign.training.losses import ExoPair


def test_hand_computed():
    loss, scores = ExoPair(0.1), pairs([math.log(3)], [0.0])
    assert value(loss, scores, 1) == pytest.approx([0.75 * math.log(0.75 / 0.9) + 0.25 * math.log(0.25 / 0.1)])
    assert value(loss, scores, 0) == pytest.approx([0.75 * math.log(0.75 / 0.1) + 0.25 * math.log(0.25 / 0.9)])
    assert value(loss, scores, 0.5) == pytest.approx([0.75 * math.log(1.5) + 0.25 * math.log(0.5)])


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(1e-3, 0.4), st.floats(-3, 3))
def test_is_zero_where_the_policy_chooses_as_the_label_and_positive_elsewhere(p, smoothing, away):
    q = smoothing + (1 - 2 * smoothing) * p
    exact = math.log(q / (1 - q))
    loss = ExoPair(smoothing)
    assert value(loss, pairs([exact], [0.0]), p) == pytest.approx([0.0], abs=1e-12)
    distance = torch.sigmoid(tensor(exact + away)).item() - q
    assert value(loss, pairs([exact + away], [0.0]), p)[0] >= 2 * distance**2 - 1e-12  # Pinsker


def test_reaches_the_odds_of_a_soft_label():
    h = tensor(math.log(7 / 3)).requires_grad_()  # about 0.85, where the mean of sure labels would go on to 2.76
    (slope,) = torch.autograd.grad(ExoPair(1e-9)(pairs(h, [0.0]), tensor(0.7)).sum(), h)
    assert abs(slope.item()) < 1e-8


@pytest.mark.parametrize("wrong", [0.0, 0.5, -1.0])
def test_refuses_a_sure_label(wrong):
    with pytest.raises(InputError, match=r"label_smoothing must be in \(0, 0\.5\)"):
        ExoPair(wrong)
