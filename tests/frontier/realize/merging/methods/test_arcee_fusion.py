import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError


def test_by_hand(merge):
    # Base rows of zeros: uniform. Row 2 of the other is uniform too, so nothing of it matters. In row 1, p = (e, 1) / (e + 1), the change is (1, 0):
    # importances (KL, 0, 0, 0, 0, 0), all quartiles 0, the threshold 0. Every entry reaches it, so that all is taken.
    base, other = torch.zeros(3, 2), torch.tensor([[1.0, 0.0], [5.0, 5.0], [0.0, 0.0]])
    assert_close(merge("arcee_fusion", [other], base), other)


def test_only_the_important_is_taken(merge):
    torch.manual_seed(0)
    base = torch.randn(40, 25)
    change = 0.01 * torch.randn(40, 25)
    change[7, 3] = 3.0
    other = base + change
    p, q = (other.double().softmax(-1) + 1e-8), (base.double().softmax(-1) + 1e-8)
    importance = change.double().abs() * (p * (p / q).log()).sum(-1, keepdim=True)
    low, middle, high = (importance.flatten().sort().values[int(f * 999)] for f in (0.25, 0.5, 0.75))
    taken = importance >= middle + 1.5 * (high - low)
    got = merge("arcee_fusion", [other], base)
    assert torch.equal(got, torch.where(taken, other, base))
    assert taken[7, 3]
    assert 0.02 < taken.double().mean() < 0.4


def test_a_row_equal_in_both_matters_nothing(merge):
    base = torch.tensor([[0.0, math.log(3)]])
    assert torch.equal(merge("arcee_fusion", [base.clone()], base), base)


def test_one_model(merge, models):
    with pytest.raises(InputError, match="exactly 1 model, found 3"):
        merge("arcee_fusion", models[0], models[1])
