import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

BASE = torch.tensor([1.0, 1.0, 1.0, 1.0])


def test_by_hand(merge):
    # Deltas a = (2, 0, 1, -3), b = (-1, 0, 1, -1). Energies 14 and 3: weights 14/17 and 3/17. Elected signs +, +, +, -.
    # Entry 1: only a agrees, 2. Entry 2: nothing changed, the divisor's floor. Entries 3 and 4: weighted means 1 and -(14*3+3)/17.
    tensors = [BASE + torch.tensor([2.0, 0.0, 1.0, -3.0]), BASE + torch.tensor([-1.0, 0.0, 1.0, -1.0])]
    assert_close(merge("sce", tensors, BASE), BASE + torch.tensor([2.0, 0.0, 1.0, -45 / 17]))


def test_selects_by_variance(merge):
    # Variances (2.25, 0, 0, 1): two are not 0, and half of them is entry 1. There weights are 4/5 and 1/5, and only a agrees.
    tensors = [BASE + torch.tensor([2.0, 0.0, 1.0, -3.0]), BASE + torch.tensor([-1.0, 0.0, 1.0, -1.0])]
    assert_close(merge("sce", tensors, BASE, select_topk=0.5), BASE + torch.tensor([2.0, 0.0, 0.0, 0.0]))
    assert_close(merge("sce", tensors, BASE, select_topk=0.49), BASE)
    assert_close(merge("sce", tensors, BASE, select_topk=0.0), BASE)


def test_against_the_definition(merge, models):
    tensors, base = models
    deltas = torch.stack([t.double() - base.double() for t in tensors])
    variance = deltas.var(0, unbiased=False)
    kept = variance >= variance.flatten().sort(descending=True).values[int(0.3 * variance.numel()) - 1]
    deltas = deltas * kept
    weights = deltas.square().mean((1, 2)) / deltas.square().mean((1, 2)).sum()
    agrees = (deltas.sign() == torch.where(deltas.sum(0) >= 0, 1, -1)) * weights.view(3, 1, 1)
    expected = base.double() + (deltas * agrees).sum(0) / agrees.sum(0).clamp_min(1e-6)
    assert_close(merge("sce", tensors, base, select_topk=0.3), expected.float())


def test_tiny_deltas_count_alike(merge):
    # Energies of 1e-8 and 4e-8: below 1e-6 together, so that the mean is plain and not 0.2 and 0.8.
    got = merge("sce", [torch.full((4,), 1e-4), torch.full((4,), 2e-4)], torch.zeros(4))
    assert_close(got, torch.full((4,), 1.5e-4))


def test_refuses_a_share_above_one(merge):
    with pytest.raises(InputError, match="select_topk must be between 0 and 1, found 2"):
        merge("sce", [BASE], BASE, select_topk=2.0)
