import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

BASE = torch.tensor([1.0, 1.0, 1.0])


def test_by_hand(merge):
    # Deltas (1, 1, 0) and (1, 0, 1): cos 0.5, t = 2 * 0.5 / 1.5 = 2/3 of their mean (1, 0.5, 0.5).
    tensors = [BASE + torch.tensor([1.0, 1.0, 0.0]), BASE + torch.tensor([1.0, 0.0, 1.0])]
    assert_close(merge("model_stock", tensors, BASE), BASE + torch.tensor([2 / 3, 1 / 3, 1 / 3]))


def test_is_the_mean_of_all_pairs(merge):
    torch.manual_seed(0)
    base, tensors = torch.randn(50), [torch.randn(50) for _ in range(3)]
    deltas = torch.stack(tensors) - base
    cosine = sum(torch.cosine_similarity(deltas[i], deltas[j], dim=0) for i, j in [(0, 1), (0, 2), (1, 2)]) / 3
    t = 3 * cosine / (1 + 2 * cosine)
    assert_close(merge("model_stock", tensors, base), t * torch.stack(tensors).mean(0) + (1 - t) * base)


def test_limits(merge):
    torch.manual_seed(0)
    base, a = torch.randn(50), torch.randn(50)
    assert_close(merge("model_stock", [a, a], base), a)  # agreement: the mean
    assert_close(merge("model_stock", [base, base], base), base)  # frozen: the base
    assert_close(merge("model_stock", [base + a, base - a], base), base)  # cancelling: the base
    across = torch.zeros(4), torch.tensor([1.0, 0, 0, 0]), torch.tensor([0.0, 1, 0, 0])
    assert_close(merge("model_stock", list(across[1:]), across[0]), across[0])  # right angles: the base


def test_by_row(merge):
    torch.manual_seed(0)
    base, tensors = torch.randn(5, 30), [torch.randn(5, 30) for _ in range(3)]
    got = merge("model_stock", tensors, base, filter_wise=True)
    rows = [merge("model_stock", [t[i] for t in tensors], base[i]) for i in range(5)]
    assert_close(got, torch.stack(rows))
    assert not torch.allclose(got, merge("model_stock", tensors, base))
    vector = merge("model_stock", [t[0] for t in tensors], base[0], filter_wise=True)
    assert_close(vector, rows[0])


def test_order_does_not_matter(merge):
    torch.manual_seed(0)
    base, tensors = torch.randn(50), [torch.randn(50) for _ in range(3)]
    assert_close(merge("model_stock", tensors, base), merge("model_stock", tensors[::-1], base))


def test_refuses_one_model(merge):
    with pytest.raises(InputError, match="model_stock merges at least 2 models, found 1"):
        merge("model_stock", [BASE], BASE)
