from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from moalign.training.forward.prompt_rows import PromptRow, lay_out
from moalign.training.forward.shared_attention import NAME, attending, shared_prompt_attention, spans

CPU = torch.device("cpu")
LENGTHS = st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 4), min_size=1, max_size=4)), min_size=1, max_size=4)  # fmt: skip


def laid_out(lengths):
    rows = [PromptRow(i, range(p), [range(c) for c in some], 0) for i, (p, some) in enumerate(lengths)]
    layout = lay_out(rows, 0, CPU)
    return rows, layout


def attend(found, query, key, value):
    config = SimpleNamespace(_attn_implementation="sdpa")
    module = SimpleNamespace(num_key_value_groups=query.shape[1] // key.shape[1], is_causal=True)
    with attending(config, found):
        assert config._attn_implementation == NAME
        out, _ = shared_prompt_attention(module, query, key, value, None)
    assert config._attn_implementation == "sdpa"
    return out


@given(LENGTHS)
def test_is_attention_under_the_dense_mask(lengths):
    rows, layout = laid_out(lengths)
    length = layout.ids.shape[1]
    found = spans(rows, length, CPU)
    if found is None:
        assert all(len(some) == 1 or not any(some[1:]) for _, some in lengths) or not any(p + s[0] for p, s in lengths)
        return
    torch.manual_seed(0)
    shapes = [(len(rows), heads, length, 4) for heads in (4, 2, 2)]
    ours, plain = ([torch.randn(s, dtype=torch.float64) for s in shapes] for _ in range(2))
    for mine, theirs in zip(ours, plain, strict=True):
        theirs.copy_(mine)
        mine.requires_grad_()
        theirs.requires_grad_()
    tokens = layout.part <= torch.tensor([len(some) for _, some in lengths])[:, None]  # not the padding
    got = attend(found, *ours)[tokens]
    dense = scaled_dot_product_attention(*plain, attn_mask=layout.mask(), enable_gqa=True).transpose(1, 2)[tokens]
    assert_close(got, dense)
    upstream = torch.randn_like(dense)
    got.mul(upstream).sum().backward()
    dense.mul(upstream).sum().backward()
    for mine, theirs in zip(ours, plain, strict=True):
        assert_close(mine.grad, theirs.grad)


def test_by_hand():
    # Two tokens of prompt, completions of one and two tokens: a prompt with its first completion is causal, the second completion asks tokens 0, 1, 3, 4.
    rows, layout = laid_out([(2, [1, 2])])
    found = spans(rows, layout.ids.shape[1], CPU)
    assert found.first == 3
    assert found.asking.tolist() == [[3, 4]]
    assert found.asked.tolist() == [[0, 1, 3, 4]]
    assert found.seen[0, 0].tolist() == [[True, True, True, False], [True, True, True, True]]
    assert found.places.tolist() == [3, 4]


def test_nothing_to_save():
    for lengths in ([(3, [2])], [(3, [2, 0])], [(0, [0, 2])]):
        rows, layout = laid_out(lengths)
        assert spans(rows, layout.ids.shape[1], CPU) is None


def test_it_is_for_our_own_forwards():
    with pytest.raises(RuntimeError, match="moalign's own forwards only"):
        shared_prompt_attention(SimpleNamespace(), *[torch.zeros(1, 1, 1, 4)] * 3, None)


def test_the_model_gets_its_attention_back_when_something_fails():
    rows, layout = laid_out([(2, [1, 2])])
    config = SimpleNamespace(_attn_implementation="sdpa")
    with pytest.raises(ZeroDivisionError), attending(config, spans(rows, layout.ids.shape[1], CPU)):
        1 / 0
    assert config._attn_implementation == "sdpa"
