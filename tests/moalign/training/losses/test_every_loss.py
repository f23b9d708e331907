"""What must hold for every loss, or for every loss of the score difference."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import EVERY, OF_A_DIFFERENCE, OF_LEVELS, batches, identity, pairs, tensor
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses import LOSSES, PairScores, ReverseKL, find_loss

NAN = math.nan
every = pytest.mark.parametrize("loss", EVERY, ids=identity)
of_a_difference = pytest.mark.parametrize("loss", OF_A_DIFFERENCE, ids=identity)
of_levels = pytest.mark.parametrize("loss", OF_LEVELS, ids=identity)
few = settings(deadline=None, max_examples=20)
NEAR = {"atol": 1e-8, "rtol": 1e-8}


def test_the_cases_hold_every_loss():
    assert {type(loss) for loss in EVERY} == set(LOSSES.values())
    assert {loss.name for loss in OF_LEVELS} == {"apo_zero", "apo_down", "nca_pair", "bco_pair", "sppo_hard"}


@every
@few
@given(st.data())
def test_the_order_of_a_pair_means_nothing(loss, data):
    scores, label = data.draw(batches(loss))
    assert_close(loss(scores.swapped(), 1 - label), loss(scores, label), **NEAR)


# A soft label is the distribution that EXO matches, not a mixture of sure ones: see test_exo.py.
@pytest.mark.parametrize("loss", [loss for loss in EVERY if loss.name != "exo_pair"], ids=identity)
@few
@given(st.data())
def test_a_soft_label_costs_what_drawn_labels_cost_on_average(loss, data):
    scores, p = data.draw(batches(loss))
    if_a, if_b = loss(scores, torch.ones(3)), loss(scores, torch.zeros(3))
    assert_close(loss(scores, p), p * if_a + (1 - p) * if_b, **NEAR)


@every
@few
@given(st.data())
def test_pairs_are_apart(loss, data):
    scores, label = data.draw(batches(loss))
    alone = [loss(_row(scores, i), label[i : i + 1]) for i in range(3)]
    assert_close(loss(scores, label), torch.cat(alone), **NEAR)


def _row(scores, i):
    one = {name: value[i : i + 1] for name, value in vars(scores).items() if isinstance(value, torch.Tensor)}
    return replace(scores, **one)


@every
@pytest.mark.parametrize("mean", [torch.nanmean, lambda losses: losses[~losses.isnan()].mean()], ids=["nan", "index"])
def test_a_missing_label_is_nan_and_moves_nothing(loss, mean):
    h_a = tensor(0.3, -0.2, 0.7).requires_grad_()
    losses = loss(pairs(h_a, tensor(0.1, 0.4, -0.9)), tensor(1.0, NAN, 0.25))
    assert losses.isnan().tolist() == [False, True, False]
    mean(losses).backward()
    assert h_a.grad[1] == 0
    assert (h_a.grad[[0, 2]] != 0).all()


@of_a_difference
def test_an_unknown_margin_is_nan_and_moves_nothing(loss):
    h_a = tensor(0.3, -0.2).requires_grad_()
    losses = loss(pairs(h_a, tensor(0.1, 0.4), margin=tensor(NAN, 1.0)), tensor(1.0, 1.0))
    assert losses.isnan().tolist() == [True, False]
    losses.nanmean().backward()
    assert h_a.grad[0] == 0
    assert h_a.grad[1] != 0


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [1e3, -1e3])
@pytest.mark.parametrize("label", [0.0, 0.5, 1.0])
def test_is_finite_far_out(loss, dtype, far, label):
    h = torch.tensor([far, 0.0, far, far], dtype=dtype).requires_grad_()
    other = torch.tensor([0.0, far, -far, far], dtype=dtype).requires_grad_()
    zero, ones = torch.zeros_like(h.detach()), torch.ones_like(h.detach())
    scores = PairScores(
        policy_a=h, policy_b=other, reference_a=zero, reference_b=zero, length_a=ones, length_b=ones, scale=1.0
    )  # fmt: skip
    losses = loss(scores, torch.full((4,), label))
    assert losses.dtype == dtype
    losses.sum().backward()
    assert losses.isfinite().all()
    assert h.grad.isfinite().all()
    assert other.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [loss for loss in EVERY if loss.name in ("sigmoid", "sigmoid_norm", "hinge", "robust", "simpo")],
    ids=identity,
)
@few
@given(st.data(), st.floats(0.01, 10))
def test_a_larger_lead_of_the_better_one_never_costs_more(loss, data, more):
    scores, _ = data.draw(batches(loss))
    ahead = replace(scores, policy_a=scores.policy_a + more)
    ones = torch.ones(3)
    assert (loss(ahead, ones) <= loss(scores, ones) + 1e-9).all()
    assert (loss(ahead, 0 * ones) >= loss(scores, 0 * ones) - 1e-9).all()


@pytest.mark.parametrize(
    "name", ["sigmoid", "sigmoid_norm", "cdpo", "robust", "hinge", "ipo", "exo_pair", "discopop", "simpo"]
)
@few
@given(st.data())
def test_a_margin_is_a_lead_that_the_policy_does_not_have(name, data):
    loss = find_loss(name)
    scores, label = data.draw(batches(loss))
    per_token = name in ("sigmoid_norm", "ipo", "simpo")
    lead = scores.margin / scores.scale * (scores.length_a if per_token else 1)
    without = replace(scores, policy_a=scores.policy_a - lead, margin=None)
    assert_close(loss(scores, label), loss(without, label), atol=1e-6, rtol=1e-6)


@of_levels
def test_refuses_a_margin_and_a_scale_per_row(loss):
    h = tensor(0.1, 0.2)
    plain = loss(pairs(h, -h, scale=0.5), torch.ones(2))
    assert_close(loss(pairs(h, -h, scale=tensor(0.5, 0.5), margin=tensor(0.0, 0.0)), torch.ones(2)), plain)
    with pytest.raises(InputError, match=rf"loss '{loss.name}' .* a margin between the two \(found 0\.3\)"):
        loss(pairs(h, -h, margin=tensor(0.0, 0.3)), torch.ones(2))
    with pytest.raises(InputError, match=r"a scale per row \(found 0\.5 to 2\) has no place; choose .* sigmoid"):
        loss(pairs(h, -h, scale=tensor(2.0, 0.5)), torch.ones(2))


@every
def test_says_whether_it_needs_a_reference(loss):
    scores = replace(pairs([0.1], [0.2]), reference_a=None, reference_b=None)
    if loss.needs_reference:
        with pytest.raises(InputError, match="reference_a and reference_b are missing"):
            loss(scores, tensor(1.0))
    else:
        assert loss(scores, tensor(1.0)).isfinite()


@every
def test_refuses_labels_that_are_no_probabilities(loss):
    with pytest.raises(InputError, match=r"in \[0, 1\]; found -1"):
        loss(pairs([0.1, 0.1], [0.2, 0.1]), tensor(NAN, -1.0))


@pytest.mark.parametrize("name", [name for name in LOSSES if name in ("sigmoid", "hinge", "ipo", "exo_pair")])
def test_the_plain_divergence_is_the_kl_divergence(name):
    assert find_loss(name).divergence == ReverseKL()
