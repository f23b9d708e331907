import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

BASE = torch.zeros(8)
# The first changes 1 entry alone and 1 with the second, which changes 5 alone.
FIRST = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
SECOND = torch.tensor([0.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0])


def test_by_hand(merge):
    # rho: 1/1, of which alpha 0.5 counts, and 1/5. Gains 1 + 0.4 * 0.5 and 1 + 0.4 * 0.2.
    got = merge("ramplus_tl", [FIRST, SECOND], BASE, r=0.4, alpha=0.5)
    assert_close(got, torch.tensor([1.2, 2.0, 2.16, 2.16, 2.16, 2.16, 2.16, 0.0]))


def test_without_a_gain_it_is_ram(merge, models):
    tensors, base = models
    assert torch.equal(merge("ramplus_tl", tensors, base, r=0.0), merge("ram", tensors, base))
    assert torch.equal(
        merge("ramplus_tl", tensors, base, alpha=0.0, epsilon=0.1), merge("ram", tensors, base, epsilon=0.1)
    )


def test_against_the_definition(merge, models):
    tensors, base = models
    deltas = torch.stack(tensors).double() - base.double()
    changed = deltas.abs() > 0.05
    count = changed.sum(0)
    gains = [1 + 0.1 * min((c & (count > 1)).sum() / (c & (count == 1)).sum(), 0.2) for c in changed]
    alone = sum(g * d * (c & (count == 1)) for g, d, c in zip(gains, deltas, changed, strict=True))
    shared = (deltas * changed).sum(0) * (count > 1) / count.clamp_min(1)
    assert_close(merge("ramplus_tl", tensors, base, epsilon=0.05), (base.double() + alone + shared).float())


def test_refuses_a_negative_bound(merge):
    with pytest.raises(InputError, match="alpha must be finite and at least 0"):
        merge("ramplus_tl", [FIRST, SECOND], BASE, alpha=-0.1)
