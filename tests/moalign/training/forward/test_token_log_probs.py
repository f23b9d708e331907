import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.testing import assert_close

from moalign.training.forward.token_log_probs import token_log_probs


def plain(hidden, weight, targets, bias=None, temperature=1.0):
    logits = functional.linear(hidden, weight, bias) / temperature
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def example(n=7, v=11, h=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(n)
    hidden, weight = torch.randn(n, h, generator=generator), torch.randn(v, h, generator=generator)
    return hidden.to(dtype).requires_grad_(), weight.to(dtype), torch.randint(v, (n,), generator=generator)


def test_by_hand():
    weight = torch.tensor([[math.log(2.0)], [0.0]])  # logits log 2 and 0: two thirds and one third
    values, entropies = token_log_probs(torch.ones(2, 1), weight, torch.tensor([0, 1]), entropies=True)
    assert_close(values.exp(), torch.tensor([2 / 3, 1 / 3]))
    assert_close(entropies, torch.full((2,), math.log(3) - 2 / 3 * math.log(2)))


def test_the_gradient_is_right():
    hidden, weight, targets = example()
    bias = torch.linspace(-1, 1, len(weight), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: token_log_probs(x, weight, targets, bias, temperature=0.7, chunk=3)[0], hidden
    )


@settings(max_examples=30)
@given(st.integers(0, 9), st.integers(2, 30), st.integers(1, 12), st.floats(0.3, 3.0))
def test_chunks_and_temperatures_change_nothing(n, v, chunk, temperature):
    hidden, weight, targets = example(n, v)
    got, entropies = token_log_probs(hidden, weight, targets, temperature=temperature, entropies=True, chunk=chunk)
    expected = plain(hidden, weight, targets, temperature=temperature)
    assert_close(got, expected)
    assert not entropies.requires_grad
    probs = (hidden @ weight.T / temperature).detach().softmax(-1)
    assert_close(entropies, -(probs * probs.log()).sum(-1))
    upstream = torch.linspace(-1, 2, n, dtype=torch.float64)
    (mine,) = torch.autograd.grad(got, hidden, upstream)
    (its,) = torch.autograd.grad(expected, hidden, upstream)
    assert_close(mine, its)


def test_half_precision_has_a_softmax_in_float32():
    hidden, weight, targets = example(64, 500, 32, torch.bfloat16)
    values, _ = token_log_probs(hidden, weight, targets)
    assert values.dtype == torch.float32
    exact = plain(hidden.detach().double(), weight.double(), targets).float()
    rounded = plain(hidden, weight, targets).float()
    assert (values - exact).abs().mean() < (rounded - exact).abs().mean()
    values.sum().backward()
    assert hidden.grad.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        again, _ = token_log_probs(hidden.float(), weight.float(), targets)
    assert_close(again, values)


def test_no_chunk_of_logits_is_kept():
    hidden, weight, targets = example(6, 50, 4)
    values, _ = token_log_probs(hidden, weight, targets, chunk=2)
    assert {tuple(t.shape) for t in values.grad_fn.saved_tensors} == {(6, 4)}
    with torch.no_grad():
        assert token_log_probs(hidden, weight, targets)[0].grad_fn is None


def test_the_gradient_has_no_gradient():
    hidden, weight, targets = example()
    (slope,) = torch.autograd.grad(token_log_probs(hidden, weight, targets)[0].sum(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(slope.sum(), hidden)
