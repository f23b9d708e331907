import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError

A, B = torch.tensor([1.0, 4.0]), torch.tensor([3.0, -2.0])
# Eighths: sums are exact, so that the order of the models can't matter.
EIGHTHS = st.integers(-16, 16).map(lambda i: i / 8)


def test_by_hand(merge):
    assert_close(merge("linear", [A, B], weight=[1, 3]), torch.tensor([2.5, -0.5]))
    assert_close(merge("linear", [A, B], weight=[1, 3], normalize=False), torch.tensor([10.0, -2.0]))


def test_limits(merge):
    assert torch.equal(merge("linear", [A], weight=[0.3], normalize=True), A)
    assert torch.equal(merge("linear", [A, B], weight=[2, 0]), A)
    assert_close(merge("linear", [A, B], weight=[2, -1]), 2 * A - B)


@settings(deadline=None, max_examples=50)
@given(st.lists(EIGHTHS, min_size=3, max_size=3), st.permutations([0, 1, 2]), st.sampled_from([0.5, 2.0, -4.0]))
def test_permutation_and_scale(merge, weights, order, factor):
    tensors = [torch.arange(6.0) - 2, torch.arange(6.0) ** 2 / 4, torch.ones(6)]
    got = merge("linear", tensors, weight=weights, normalize=False)
    assert torch.equal(
        got, merge("linear", [tensors[i] for i in order], weight=[weights[i] for i in order], normalize=False)
    )
    assert torch.equal(got * factor, merge("linear", tensors, weight=[w * factor for w in weights], normalize=False))
    if abs(sum(weights)) > 0.1:
        # Normalised weights only count by their ratios.
        assert_close(
            merge("linear", tensors, weight=weights), merge("linear", tensors, weight=[w * factor for w in weights])
        )


def test_refuses_weights_that_cancel(merge):
    with pytest.raises(InputError, match=r"linear can't normalise weights that sum to 0: \[1.0, -1.0\]"):
        merge("linear", [A, B], weight=[1, -1])
