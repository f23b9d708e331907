import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.utils import merge_utils
from torch.testing import assert_close

BASE = torch.zeros(4)
A = torch.tensor([2.0, -1.0, 0.5, 3.0])
B = torch.tensor([-3.0, -2.0, 4.0, 0.1])


def test_by_hand_and_unlike_mergekit(merge):
    # (2, 0, 0, 3) and (-3, 0, 4, 0): without weights B wins the first entry; each entry has one model.
    got = merge("ties_peft", [A, B], BASE, weight=[0.75, 0.25], density=0.5)
    assert_close(got, torch.tensor([-0.75, 0.0, 1.0, 2.25]))
    assert merge("ties", [A, B], BASE, weight=[0.75, 0.25], density=0.5)[0] > 0


@pytest.mark.filterwarnings("ignore:The density 1.0")
@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(0, 9999), st.sampled_from([0.1, 0.5, 1.0]))
def test_against_peft(merge, n, seed, density):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(5, 8, generator=generator) for _ in range(n)]
    weights = torch.randn(n, generator=generator)
    expected = merge_utils.ties(tensors, weights, density)
    got = merge("ties_peft", tensors, torch.zeros(5, 8), weight=weights.tolist(), density=density)
    assert_close(got, expected)


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_equal_weights_agree_with_mergekit_up_to_a_factor(merge, models, density):
    tensors, base = models
    ours = merge("ties", tensors, base, weight=1, density=density)
    peft = merge("ties_peft", tensors, base, weight=1, density=density)
    assert_close(ours, peft)
