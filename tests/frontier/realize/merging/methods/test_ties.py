import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.realize.merging.methods import base as module

BASE = torch.zeros(4)
A = torch.tensor([2.0, -1.0, 0.5, 3.0])
B = torch.tensor([-3.0, -2.0, 4.0, 0.1])


def test_by_hand(merge):
    # Of each the two largest: (2, 0, 0, 3) and (-3, 0, 4, 0). Weighted votes in the first entry: 0.75 * 2 > 0.25 * 3, so A alone, divided by its weight.
    got = merge("ties", [A, B], BASE, weight=[0.75, 0.25], density=0.5)
    assert_close(got, torch.tensor([2.0, 0.0, 4.0, 3.0]))
    # Unnormalised, the weights stay.
    got = merge("ties", [A, B], BASE, weight=[0.75, 0.25], density=0.5, normalize=False)
    assert_close(got, torch.tensor([1.5, 0.0, 1.0, 2.25]))
    # With other weights B wins the first entry.
    got = merge("ties", [A, B], BASE, weight=[0.5, 0.5], density=0.5, lambda_=2)
    assert_close(got, torch.tensor([-6.0, 0.0, 8.0, 6.0]))


def test_both_agree(merge):
    # Both negative: (0.75 * -1 + 0.25 * -2) / 1.
    assert_close(merge("ties", [A, B], BASE, weight=[0.75, 0.25])[1], torch.tensor(-1.25))


def test_a_sum_of_zero_elects_plus(merge):
    got = merge("ties", [torch.tensor([1.0]), torch.tensor([-1.0])], torch.zeros(1), weight=1)
    assert got.item() == 1.0


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4), st.integers(0, 9999), st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()
)
def test_against_the_definition(merge, plain, n, seed, normalize, density, negative):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(5, 8, generator=generator)
    tensors = [base + torch.randn(5, 8, generator=generator) for _ in range(n)]
    weights = (torch.rand(n, generator=generator) + 0.1 - (0.6 if negative else 0)).tolist()
    trimmed = []
    for t in tensors:
        d = (t - base).view(-1)
        kept = d.abs().argsort(descending=True, stable=True)[: int(density * d.numel())]
        trimmed.append(torch.zeros_like(d).index_copy(0, kept, d[kept]))
    expected = plain(trimmed, weights, base, elect=True, normalize=normalize, lambda_=0.7)
    got = merge("ties", tensors, base, weight=weights, density=density, normalize=normalize, lambda_=0.7)
    # Negative weights can leave divisors near 0, where rounding grows.
    assert_close(got.double(), expected, atol=1e-5, rtol=1e-3 if negative else 1e-5)


def test_many_blocks_are_one(merge, models, monkeypatch):
    whole = merge("ties", *models, weight=[0.2, 0.3, 0.5], density=0.3)
    monkeypatch.setattr(module, "CPU_BLOCK", 101)
    assert torch.equal(whole, merge("ties", *models, weight=[0.2, 0.3, 0.5], density=0.3))


def test_limits(merge, models):
    tensors, base = models
    assert torch.equal(merge("ties", tensors, base, weight=1, density=0), base)
    assert torch.equal(merge("ties", tensors, base, weight=0), base)
    assert_close(merge("ties", tensors[:1], base, weight=[0.3]), tensors[0])
    one = merge("ties", [tensors[0], tensors[1]], base, weight=[1, 0], density=0.4)
    assert_close(one, merge("ties", [tensors[0]], base, weight=[1], density=0.4))


def test_density_one_and_one_sign_is_task_arithmetic(merge):
    base = torch.zeros(50)
    tensors = [torch.rand(50) + 0.1 for _ in range(3)]
    got = merge("ties", tensors, base, weight=[0.2, 0.3, 0.5], normalize=False)
    assert_close(got, merge("task_arithmetic", tensors, base, weight=[0.2, 0.3, 0.5]))


@settings(deadline=None, max_examples=40)
@given(st.permutations([0, 1, 2]), st.sampled_from([0.5, 2.0, 8.0]), st.integers(0, 99))
def test_permutation_and_scale(merge, order, factor, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randint(-64, 64, (40,), generator=generator) / 8 for _ in range(3)]
    weights, base = [0.25, 0.5, 0.25], torch.zeros(40)
    got = merge("ties", tensors, base, weight=weights, density=0.6)
    moved = merge("ties", [tensors[i] for i in order], base, weight=[weights[i] for i in order], density=0.6)
    assert_close(got, moved)
    # Deltas scale the result, weights leave it.
    assert_close(got * factor, merge("ties", [t * factor for t in tensors], base, weight=weights, density=0.6))
    assert_close(got, merge("ties", tensors, base, weight=[w * factor for w in weights], density=0.6))


@pytest.mark.parametrize(("norm", "p"), [("l1", 1), ("l2", 2), ("linf", float("inf"))])
def test_rescale_restores_the_norm(merge, norm, p):
    torch.manual_seed(1)
    tensor = torch.randn(400)
    got = merge("ties", [tensor], torch.zeros(400), weight=1, density=0.3, rescale=True, rescale_norm=norm)
    assert int((got != 0).sum()) == 120
    assert_close(got.norm(p), tensor.norm(p))


def test_a_small_tensor_keeps_one_entry(merge):
    # ⌊0.1 · 3⌋ = 0, but a density above 0 always keeps the largest.
    tensor = torch.tensor([1.0, -3.0, 2.0])
    assert_close(merge("ties", [tensor], torch.zeros(3), weight=1, density=0.1), torch.tensor([0.0, -3.0, 0.0]))
    assert_close(merge("ties", [tensor], torch.zeros(3), weight=1, density=0.0), torch.zeros(3))
