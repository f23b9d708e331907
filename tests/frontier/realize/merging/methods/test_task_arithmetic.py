import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

A, B, BASE = torch.tensor([3.0, 0.0]), torch.tensor([1.0, 4.0]), torch.tensor([1.0, 2.0])
EIGHTHS = st.integers(-16, 16).map(lambda i: i / 8)


def test_by_hand(merge):
    # Deltas (2, -2) and (0, 2).
    assert_close(merge("task_arithmetic", [A, B], BASE, weight=[0.5, 2]), torch.tensor([2.0, 5.0]))
    assert_close(merge("task_arithmetic", [A, B], BASE, weight=[0.5, 2], lambda_=2), torch.tensor([3.0, 8.0]))
    assert_close(merge("task_arithmetic", [A, B], BASE, weight=[0.5, 2], normalize=True), torch.tensor([1.4, 3.2]))


def test_limits(merge):
    assert torch.equal(merge("task_arithmetic", [A, B], BASE, weight=0), BASE)
    assert torch.equal(merge("task_arithmetic", [A, B], BASE, weight=1, lambda_=0), BASE)
    assert torch.equal(merge("task_arithmetic", [A], BASE, weight=1), A)
    # Weights that cancel divide nothing.
    assert torch.equal(
        merge("task_arithmetic", [A, B], BASE, weight=[1, -1], normalize=True),
        merge("task_arithmetic", [A, B], BASE, weight=[1, -1]),
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(EIGHTHS, min_size=3, max_size=3), st.permutations([0, 1, 2]), st.sampled_from([0.5, 2.0, -4.0]))
def test_permutation_and_scale(merge, weights, order, factor):
    base = torch.ones(6)
    tensors = [torch.arange(6.0) - 2, torch.arange(6.0) ** 2 / 4, torch.ones(6)]
    got = merge("task_arithmetic", tensors, base, weight=weights)
    moved = merge("task_arithmetic", [tensors[i] for i in order], base, weight=[weights[i] for i in order])
    assert torch.equal(got, moved)
    assert torch.equal(
        (got - base) * factor, merge("task_arithmetic", tensors, base, weight=[w * factor for w in weights]) - base
    )
