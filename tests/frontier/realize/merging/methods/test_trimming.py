import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.realize.merging.methods import base as module
from frontier.realize.merging.methods.trimming import keep_largest


def sorted_mask(tensor, base, count, prefer_last):
    magnitudes = (tensor.double() - base.double()).abs().tolist()
    order = sorted(range(len(magnitudes)), key=lambda i: (-magnitudes[i], -i if prefer_last else i))
    mask = torch.zeros(len(magnitudes), dtype=torch.uint8)
    mask[order[:count]] = 1
    return mask


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(-3, 3).filter(bool), min_size=1, max_size=60), st.integers(0, 60), st.booleans())
def test_exact_count_and_order_with_many_ties(values, count, prefer_last):
    base = torch.ones(len(values))
    tensor = base + torch.tensor(values, dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CPU_BLOCK", 7)  # ties reach over several blocks
        got = keep_largest(tensor, base, count, prefer_last=prefer_last)
    assert torch.equal(got, sorted_mask(tensor, base, min(count, len(values)), prefer_last))


@pytest.mark.parametrize("count", [0, 1, 500, 1999, 2000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_against_sorting(count, dtype):
    torch.manual_seed(0)
    base, tensor = torch.randn(2000).to(dtype), torch.randn(2000).to(dtype)
    got = keep_largest(tensor, base, count)
    assert int(got.sum()) == count
    # bfloat16 differences are taken in float32, and have ties.
    work = torch.float64 if dtype == torch.float64 else torch.float32
    assert torch.equal(got, sorted_mask(tensor.to(work) - base.to(work), torch.zeros(2000, dtype=work), count, False))


def test_a_frozen_tensor():
    """All entries are 0: which of them are kept can't matter, and takes no time."""
    base = torch.randn(1000)
    got = keep_largest(base, base, 300)
    assert got.sum() >= 300
