import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

BASE = torch.zeros(10)
MODEL = torch.tensor([1.0, -10.0, 3.0, 9.0, -5.0, 2.0, 8.0, -4.0, 7.0, 6.0])


def test_by_hand(merge):
    # The largest 20 % (10 and 9) go, the next 50 % (8 to 4) stay.
    got = merge("breadcrumbs", [MODEL], BASE, weight=1, density=0.5, gamma=0.2)
    assert got.tolist() == [0, 0, 0, 0, -5.0, 0, 8.0, -4.0, 7.0, 6.0]
    # 90 % are to stay: only one of the largest can go.
    got = merge("breadcrumbs", [MODEL], BASE, weight=1, density=0.9, gamma=0.2)
    assert sorted(got.abs().tolist())[-1] == 9.0
    assert int((got != 0).sum()) == 9


def test_without_gamma_it_keeps_the_largest(merge, models):
    tensors, base = models
    got = merge("breadcrumbs", tensors, base, weight=[0.2, 0.3, 0.5], density=0.4, gamma=0)
    expected = sum(
        w * (merge("ties", [t], base, weight=1, density=0.4) - base)
        for w, t in zip([0.2, 0.3, 0.5], tensors, strict=True)
    )
    assert_close(got, base + expected)
    # A share of less than one entry leaves out none.
    assert merge("breadcrumbs", [MODEL], BASE, weight=1, density=0.1, gamma=0.05).abs().max() == 10.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-4, 4).filter(bool), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.1, 0.5, 0.8]),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
)
def test_against_sorting(merge, values, density, gamma):
    """By the definition, with ties in the order of their places."""
    n, model = len(values), torch.tensor(values, dtype=torch.float32)
    order = sorted(range(n), key=lambda i: (abs(values[i]), i))
    kept, top = int(density * n), int(gamma * n)
    bottom = n - kept - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    expected = torch.zeros(n)
    for i in order[bottom : n - top]:
        expected[i] = values[i]
    got = merge("breadcrumbs", [model], torch.zeros(n), weight=1, density=density, gamma=gamma)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("name", ["breadcrumbs", "breadcrumbs_ties"])
def test_limits(merge, models, name):
    tensors, base = models
    assert torch.equal(merge(name, tensors, base, weight=1, density=0), base)
    full = {"breadcrumbs": merge("task_arithmetic", tensors, base, weight=0.5)}.get(
        name, merge("ties", tensors, base, weight=0.5, normalize=False)
    )
    assert_close(merge(name, tensors, base, weight=0.5), full)
