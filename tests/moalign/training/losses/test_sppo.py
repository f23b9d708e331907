import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import pairs, tensor, value

from moalign.training.losses import SppoHard


def test_hand_computed():
    scores = pairs([3.0], [1.0], scale=0.25)  # targets 2 and -2
    assert value(SppoHard(), scores, 1) == pytest.approx([1.0 + 9.0])
    assert value(SppoHard(), scores, 0) == pytest.approx([25.0 + 1.0])


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.1, 2))
def test_a_soft_label_pulls_as_the_paper_s_soft_form(p, h_a, h_b, scale):
    a, b = tensor(h_a).requires_grad_(), tensor(h_b).requires_grad_()
    slopes = torch.autograd.grad(SppoHard()(pairs(a, b, scale=scale), tensor(p)).sum(), (a, b))
    target = (p - 0.5) / scale
    assert [s.item() for s in slopes] == pytest.approx([2 * (h_a - target), 2 * (h_b + target)], abs=1e-9)
