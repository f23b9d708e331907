import math
from dataclasses import replace

import pytest
import torch
from loss_cases import pairs, tensor
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses import ForwardKL, PairScores

SCORES = PairScores(
    policy_a=tensor(-4.0, -10.0),
    policy_b=tensor(-6.0, -10.0),
    reference_a=tensor(-5.0, -12.0),
    reference_b=tensor(-4.0, -9.0),
    length_a=torch.tensor([2, 4]),
    length_b=torch.tensor([3, 0]),
    scale=tensor(0.5, 2.0),
    margin=tensor(0.25, -1.0),
)


def test_hand_computed():
    h_a, h_b = SCORES.log_ratios()
    assert (h_a.tolist(), h_b.tolist()) == ([1.0, 2.0], [-2.0, -1.0])
    assert_close(SCORES.difference(), tensor(0.5 * 3 - 0.25, 2 * 3 + 1))
    # 1 / 2 + 2 / 3; 2 / 4 + 1: a completion without tokens counts as one
    assert_close(SCORES.difference(per_token=True), tensor(0.5 * 7 / 6 - 0.25, 2 * 1.5 + 1))
    assert_close(SCORES.difference_without_reference(), tensor(0.5 * (-2 + 2) - 0.25, 2 * (-2.5 + 10) + 1))


def test_the_margin_is_outside_the_divergence():
    score = 1 - math.exp(-1) - (1 - math.exp(2))
    assert_close(SCORES.difference(ForwardKL())[0], tensor(0.5 * score - 0.25)[0])
    assert_close(replace(SCORES, margin=None).difference(ForwardKL())[0], tensor(0.5 * score)[0])


def test_one_scale_for_all_and_no_margin():
    assert_close(pairs([1.0, 2.0], [0.0, -1.0], scale=0.5).difference(), tensor(0.5, 1.5))


def test_swapped_twice_is_the_same():
    once = SCORES.swapped()
    assert_close(once.difference(), -SCORES.difference())
    assert_close(once.difference(per_token=True), -SCORES.difference(per_token=True))
    twice = once.swapped()
    for name, value in vars(SCORES).items():
        assert torch.equal(getattr(twice, name), value)
    assert pairs([1.0], [0.0]).swapped().margin is None


def test_an_unknown_margin_stays_out_of_the_difference():
    assert replace(SCORES, margin=tensor(math.nan, math.nan)).difference().tolist() == [1.5, 6.0]


@pytest.mark.parametrize("scale", [0.0, -0.1, math.inf, math.nan, tensor(0.1, 0.0), tensor(0.1, math.inf)])
def test_refuses_a_scale_that_weighs_nothing_or_all(scale):
    with pytest.raises(InputError, match=r"scale must be positive and finite, found (0|-0\.1|inf|nan): beta / w of"):
        replace(SCORES, scale=scale)


@pytest.mark.parametrize("name", ["policy_b", "reference_a", "reference_b", "length_a", "length_b", "scale", "margin"])
def test_refuses_another_shape(name):
    with pytest.raises(InputError, match=rf"{name} must be \[B\] like policy_a \(\[2\]\), found \[3\]"):
        replace(SCORES, **{name: torch.ones(3)})


def test_refuses_more_dimensions():
    with pytest.raises(InputError, match=r"policy_a must be \[B\], found \[2, 1\]"):
        replace(SCORES, policy_a=torch.ones(2, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.long])
def test_refuses_half_precision(dtype):
    with pytest.raises(InputError, match=f"reference_b must be float32 or float64, found {dtype}"):
        replace(SCORES, reference_b=SCORES.reference_b.to(dtype))


def test_refuses_half_a_pair():
    with pytest.raises(InputError, match="reference_a and reference_b go together, found only reference_a"):
        replace(SCORES, reference_b=None)
    with pytest.raises(InputError, match="length_a and length_b go together, found only length_b"):
        replace(SCORES, length_a=None)


def test_says_what_is_missing():
    with pytest.raises(InputError, match="length_a and length_b are missing"):
        replace(SCORES, length_a=None, length_b=None).difference(per_token=True)
    bare = replace(SCORES, reference_a=None, reference_b=None)
    with pytest.raises(InputError, match="reference_a and reference_b are missing"):
        bare.difference()
    assert bare.difference_without_reference().isfinite().all()
