import math

import pytest
import torch
from loss_cases import pairs, tensor
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses.base import check_smoothing, expected_loss, known_label

TWO = pairs([0.0, 0.0], [0.0, 0.0])
NAN = math.nan


def test_expected_loss_hand_computed():
    got = expected_loss(TWO, tensor(1.0, 0.25), tensor(3.0, 4.0), tensor(7.0, 8.0))
    assert got.tolist() == [3.0, 7.0]


def test_known_label_marks_what_is_missing():
    label, unknown = known_label(pairs([0.0] * 4, [0.0] * 4, margin=tensor(0.0, NAN, 0.0, NAN)), tensor(1, 1, NAN, NAN))
    assert unknown.tolist() == [False, True, True, True]
    assert label.tolist() == [1.0, 0.5, 0.5, 0.5]


def test_labels_of_another_type_take_that_of_the_scores():
    label, _ = known_label(TWO, torch.tensor([1, 0]))
    assert_close(label, tensor(1.0, 0.0))


@pytest.mark.parametrize("label", [tensor(1.0), tensor(1.0, 0.0, 1.0), torch.ones(2, 1)])
def test_refuses_labels_of_another_shape(label):
    with pytest.raises(InputError, match=r"label must be \[2\] as the scores"):
        known_label(TWO, label)


@pytest.mark.parametrize("wrong", [1.01, -0.01, math.inf])
def test_refuses_labels_outside_the_unit_interval(wrong):
    with pytest.raises(InputError, match=rf"found {wrong:.4g}"):
        known_label(TWO, tensor(0.5, wrong))


@pytest.mark.parametrize("wrong", [-0.1, 0.5, 1.0, NAN])
def test_refuses_smoothing_out_of_range(wrong):
    with pytest.raises(InputError, match=r"label_smoothing must be in \[0, 0\.5\), found"):
        check_smoothing(wrong)


def test_zero_smoothing_only_where_it_means_something():
    check_smoothing(0.0)
    with pytest.raises(InputError, match=r"label_smoothing must be in \(0, 0\.5\), found 0"):
        check_smoothing(0.0, zero=False)
