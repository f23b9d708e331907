import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import batches, pairs, value
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses import Robust, Sigmoid


def test_hand_computed():
    scores = pairs([math.log(3)], [0.0])
    assert value(Robust(0.25), scores, 1) == pytest.approx([(0.75 * math.log(4 / 3) - 0.25 * math.log(4)) / 0.5])


@settings(deadline=None)
@given(st.data(), st.floats(0, 0.45))
def test_flipped_labels_cost_on_average_what_true_ones_cost_dpo(data, flipped):
    scores, true = data.draw(batches(Robust()))
    read = (1 - flipped) * true + flipped * (1 - true)
    assert_close(Robust(flipped)(scores, read), Sigmoid()(scores, true), atol=1e-8, rtol=1e-8)


def test_without_flips_is_dpo():
    scores = pairs([0.3, -4.0], [0.1, 2.0])
    assert_close(Robust(0.0)(scores, torch.ones(2)), Sigmoid()(scores, torch.ones(2)))


@pytest.mark.parametrize("wrong", [0.5, -0.1])
def test_refuses_a_share_that_leaves_nothing_to_learn(wrong):
    with pytest.raises(InputError, match="label_smoothing"):
        Robust(wrong)
