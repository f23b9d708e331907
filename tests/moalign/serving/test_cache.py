import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from frontier.errors import InputError
from moalign.serving.cache import check_cache, joined, kept


def make(rows, length, layers=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return DynamicCache(
        [tuple(torch.randn(rows, 3, length, 4, generator=generator) for _ in range(2)) for _ in range(layers)]
    )


def tensors(cache):
    return [t.clone() for layer in cache.layers for t in (layer.keys, layer.values)]


def test_joining_pads_the_shorter_cache_with_zeros_on_the_left():
    long, short = make(2, 5), make(1, 3, seed=1)
    for first, second in ((long, short), (short, long)):
        before = tensors(first), tensors(second)
        result = joined(first, second)
        assert result.get_seq_length() == 5
        for a, b, both in zip(*before, tensors(result), strict=True):
            rows = a.shape[0]
            assert torch.equal(both[:rows, :, 5 - a.shape[2] :], a)
            assert torch.equal(both[rows:, :, 5 - b.shape[2] :], b)
            assert not both[:rows, :, : 5 - a.shape[2]].any()
            assert not both[rows:, :, : 5 - b.shape[2]].any()


def test_keeping_selects_rows_and_trims_the_left():
    cache = make(4, 6)
    before = tensors(cache)
    result = kept(cache, [0, 2], 4)
    assert result.get_seq_length() == 4
    for a, b in zip(before, tensors(result), strict=True):
        assert torch.equal(b, a[[0, 2], :, -4:])
    assert result.layers[0].keys.untyped_storage().nbytes() == 2 * 3 * 4 * 4 * 4  # the rest is given back


def test_a_kept_cache_can_grow():
    result = kept(make(2, 6), [1], 3)
    keys, _ = result.update(torch.ones(1, 3, 1, 4), torch.ones(1, 3, 1, 4), 0)
    assert keys.shape == (1, 3, 4, 4)


def test_the_public_cache_api_that_batching_relies_on():
    """If transformers changes these, batching must be looked at again."""
    cache = DynamicCache(config=LlamaConfig(num_hidden_layers=2))
    assert [type(layer) for layer in cache.layers] == [DynamicLayer, DynamicLayer]
    assert [type(layer) for layer in make(1, 2).layers] == [DynamicLayer, DynamicLayer]
    check_cache(LlamaConfig())


def test_sliding_windows_are_refused():
    with pytest.raises(InputError, match=r"'mistral' keeps DynamicSlidingWindowLayer.*full attention"):
        check_cache(MistralConfig(sliding_window=4, num_hidden_layers=2))
    check_cache(MistralConfig(sliding_window=None, num_hidden_layers=2))
    sliding = DynamicCache(config=MistralConfig(sliding_window=4, num_hidden_layers=1))
    sliding.update(torch.ones(1, 3, 1, 4), torch.ones(1, 3, 1, 4), 0)
    with pytest.raises(RuntimeError, match="DynamicSlidingWindowLayer"):
        joined(sliding, sliding)
