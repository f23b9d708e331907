"""MODPO's algebra: with scale = beta / w_0 and the weighted other rewards as margin, the losses are the paper's and so is their minimum."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import pairs, tensor
from torch.testing import assert_close

from moalign.training.losses import AlphaDivergence, ForwardKL, Hinge, Ipo, JensenShannon, ReverseKL, Sigmoid

BETA = 0.3
numbers = st.floats(-3, 3, allow_subnormal=False)


def reward(h, w, others):
    """R = (beta h - w_1 r_1 - w_2 r_2) / w_0, in plain Python."""
    return (BETA * h - w[1] * others[0] - w[2] * others[1]) / w[0]


def modpo_scores(h_a, h_b, w, others_a, others_b):
    w = torch.as_tensor(w, dtype=torch.float64)
    margin = (w[..., 1:] * (others_a - others_b)).sum(-1) / w[..., 0]
    return pairs(h_a, h_b, scale=BETA / w[..., 0], margin=margin)


@settings(deadline=None)
@given(st.tuples(numbers, numbers), st.tuples(*[st.floats(0.05, 1)] * 3), st.tuples(*[numbers] * 4))
def test_sigmoid_and_hinge_are_the_formulas_of_the_paper(h, w, others):
    a, b = others[:2], others[2:]
    scores = modpo_scores(tensor(h[0]), tensor(h[1]), [w], tensor(*a)[None], tensor(*b)[None])
    lead = reward(h[0], w, a) - reward(h[1], w, b)
    log_sigmoid = -math.log1p(math.exp(-lead)) if lead > 0 else lead - math.log1p(math.exp(lead))
    assert math.isclose(Sigmoid()(scores, tensor(1.0)).item(), -log_sigmoid, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(Hinge()(scores, tensor(1.0)).item(), max(0.0, 1 - lead), rel_tol=1e-9, abs_tol=1e-9)


def test_one_objective_is_dpo():
    w = [[1.0, 0.0, 0.0]] * 2
    h_a, h_b = tensor(0.4, -1.0), tensor(0.1, 2.0)
    scores = modpo_scores(h_a, h_b, w, torch.ones(2, 2), -torch.ones(2, 2))
    expected = -torch.nn.functional.logsigmoid(BETA * (h_a - h_b))
    assert_close(Sigmoid()(scores, torch.ones(2)), expected)


def test_rows_have_weights_of_their_own():
    h_a, h_b, a, b = tensor(0.4, 0.4), tensor(0.1, 0.1), tensor(1.0, 2.0).repeat(2, 1), tensor(0.0, 1.0).repeat(2, 1)
    w = tensor(0.5, 0.3, 0.2, 0.1, 0.2, 0.7).reshape(2, 3)
    leads = [reward(0.4, row, (1.0, 2.0)) - reward(0.1, row, (0.0, 1.0)) for row in w.tolist()]
    assert_close(modpo_scores(h_a, h_b, w, a, b).difference(), tensor(*leads))


@pytest.mark.parametrize(
    "divergence", [ReverseKL(), ForwardKL(), JensenShannon(), AlphaDivergence(0.3)], ids=lambda d: d.name
)
@settings(deadline=None)
@given(st.tuples(*[st.floats(0.05, 1)] * 3), st.tuples(*[numbers] * 3), st.floats(-0.4, 0.5))
def test_the_minimum_is_the_optimum_of_the_weighted_sum(divergence, w, gaps, h_b):
    """At the policy with beta (f'(a) - f'(b)) = sum_k w_k (r_k(a) - r_k(b)), Bradley-Terry labels of r_0 give no gradient; elsewhere they do."""
    gap = sum(x * y for x, y in zip(w, gaps, strict=True)) / 100  # small enough that bounded f' reach it
    gaps = [y / 100 for y in gaps]
    h_a = _inverse(divergence, divergence(tensor(h_b)) + gap / BETA)
    label = torch.sigmoid(tensor(gaps[0]))
    for away, still in ((0.0, True), (0.1, False), (-0.1, False)):
        h = (h_a + away).requires_grad_()
        scores = modpo_scores(h, tensor(h_b), [w], tensor(*gaps[1:])[None], torch.zeros(1, 2))
        scores = type(scores)(**{**vars(scores), "policy_a": h + scores.reference_a})
        (slope,) = torch.autograd.grad(Sigmoid(divergence)(scores, label).sum(), h)
        assert (abs(slope.item()) < 1e-9) if still else (slope.item() * away > 0)


def _inverse(divergence, score):
    """The log-ratio with this score, by bisection: f' increases."""
    low, high = tensor(-30.0), tensor(30.0)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle) < score else (low, middle)
    return low


@settings(deadline=None)
@given(st.tuples(*[st.floats(0.05, 1)] * 3), st.tuples(numbers, numbers), st.floats(0, 1), numbers)
def test_ipo_of_sums_has_its_minimum_at_the_weighted_sum_of_chance_and_rewards(w, gaps, p, h_b):
    best = (w[0] * (p - 0.5) + w[1] * gaps[0] + w[2] * gaps[1]) / BETA
    h_a = tensor(h_b + best).requires_grad_()
    scores = modpo_scores(h_a, tensor(h_b), [w], tensor(*gaps)[None], torch.zeros(1, 2))
    (slope,) = torch.autograd.grad(Ipo(per_token=False)(scores, tensor(p)).sum(), h_a)
    assert abs(slope.item()) < 1e-9


def test_the_least_weight_blows_up_the_sigmoid_but_not_ipo():
    slopes = {}
    for loss in (Sigmoid(), Ipo(per_token=False)):
        for w_0 in (1e-2, 1e-4):
            h_a = tensor(0.0).requires_grad_()
            scores = modpo_scores(h_a, tensor(0.0), [[w_0, 1.0, 0.0]], tensor(1.0, 0.0)[None], torch.zeros(1, 2))
            (slopes[loss.name, w_0],) = torch.autograd.grad(loss(scores, tensor(1.0)).sum(), h_a)
    assert slopes["sigmoid", 1e-4] < 50 * slopes["sigmoid", 1e-2] < 0  # grows as 1 / w_0
    assert_close(slopes["ipo", 1e-4], slopes["ipo", 1e-2], atol=0.1, rtol=0)  # tends to -2 w_1 r_1 / beta
    assert_close(slopes["ipo", 1e-4], tensor(-2 / BETA), atol=1e-3, rtol=0)
