import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import tensor
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.training.losses import (
    DIVERGENCES,
    AlphaDivergence,
    ForwardKL,
    JensenShannon,
    ReverseKL,
    find_divergence,
)

# The functions f of D_f = E_ref f(u), in plain Python on u.
FUNCTIONS = {
    ReverseKL(): lambda u: u * math.log(u) - u + 1,
    ForwardKL(): lambda u: -math.log(u) + u - 1,
    JensenShannon(): lambda u: u * math.log(u) - (u + 1) * math.log((u + 1) / 2),
    AlphaDivergence(0.3): lambda u: (u**0.3 / 0.3 - u) / -0.7,
    AlphaDivergence(1.5): lambda u: (u**1.5 / 1.5 - u) / 0.5,
    AlphaDivergence(-0.5): lambda u: (u**-0.5 / -0.5 - u) / -1.5,
}
every = pytest.mark.parametrize("divergence", FUNCTIONS, ids=repr)


@every
@settings(deadline=None)
@given(log_ratio=st.floats(-3, 3))
def test_the_score_is_the_derivative(divergence, log_ratio):
    u, f = math.exp(log_ratio), FUNCTIONS[divergence]
    step = 1e-5 * u
    slope = (f(u + step) - f(u - step)) / (2 * step)
    assert math.isclose(divergence(tensor(log_ratio)).item(), slope, rel_tol=1e-5, abs_tol=1e-6)


@every
def test_is_zero_at_the_reference_and_increases(divergence):
    scores = divergence(torch.linspace(-30, 30, 101, dtype=torch.float64))
    assert abs(scores[50].item()) < 1e-12
    assert (scores.diff() >= 0).all()
    assert (scores[30:70].diff() > 0).all()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_finite_far_out_and_so_is_its_square(divergence, dtype):
    log_ratio = torch.tensor([-1e4, -100.0, 100.0, 1e4], dtype=dtype).requires_grad_()
    (divergence(log_ratio) ** 2).sum().backward()
    assert (divergence(log_ratio) ** 2).isfinite().all()
    assert log_ratio.grad.isfinite().all()


def test_alpha_goes_from_forward_to_reverse():
    h = torch.linspace(-2, 2, 9, dtype=torch.float64)
    assert_close(AlphaDivergence(0.0)(h), ForwardKL()(h))
    assert_close(AlphaDivergence(1.0)(h), ReverseKL()(h))
    assert_close(AlphaDivergence(1 + 1e-7)(h), ReverseKL()(h), atol=1e-6, rtol=0)
    assert_close(AlphaDivergence(1 + 1e-6)(h.float()), h.float(), atol=1e-5, rtol=0)  # no 0 / 0 in float32 either


def test_jensen_shannon_is_bounded_above():
    assert_close(JensenShannon()(tensor(0.0, 500.0)), tensor(0.0, math.log(2)))


def test_found_by_name():
    assert list(DIVERGENCES) == ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
    assert [type(find_divergence(name)) for name in DIVERGENCES] == list(DIVERGENCES.values())
    assert find_divergence("alpha_divergence", alpha=0.2) == AlphaDivergence(0.2)


def test_refusals():
    with pytest.raises(InputError, match="unknown divergence 'foward_kl': did you mean 'forward_kl'"):
        find_divergence("foward_kl")
    with pytest.raises(InputError, match="only alpha_divergence has an option, alpha; found alpha for forward_kl"):
        find_divergence("forward_kl", alpha=0.3)
    with pytest.raises(InputError, match="found beta for alpha_divergence"):
        find_divergence("alpha_divergence", beta=0.3)
    with pytest.raises(InputError, match="alpha must be finite, found inf"):
        AlphaDivergence(math.inf)
