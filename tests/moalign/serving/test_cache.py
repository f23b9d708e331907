import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from frontier.errors import InputError
from moalign.serving.cache import (
    ChunkWindow,
    DecodeWindow,
    LayerShape,
    SlotCache,
    check_cache,
    layer_shapes,
    position_bytes,
)

SHAPES = [LayerShape((3, 4), (3, 4), torch.float32), LayerShape((3, 4), (2, 5), torch.float32)]


def make(max_slots=4, max_cells=1000):
    return SlotCache(SHAPES, torch.device("cpu"), max_slots, max_cells)


def states(rows, new, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(rows, heads, new, width, generator=generator) for heads, width in (s.keys, s.values))
        for s in SHAPES
    ]


def test_a_chunk_is_written_where_each_row_stands_and_read_from_its_beginning():
    cache = make()
    cache.reserve(3, 8, [])
    new = states(2, 4)
    cache.window = ChunkWindow([0, 2], [3, 0], [2, 4])
    assert cache.get_seq_length() == 1  # 5 positions are read, 4 of them new
    for i, (keys, values) in enumerate(new):
        read_keys, read_values = cache.update(keys, values, i)
        assert read_keys.shape == (2, *keys.shape[1:2], 5, keys.shape[3])
        assert torch.equal(read_keys[0, :, 3:5], keys[0, :, -2:])  # padding is on the left
        assert torch.equal(read_values[1, :, :4], values[1])
        assert not read_keys[0, :, :3].any()
    assert not any(buffer[1].any() for buffer in cache.buffers)


def test_a_step_writes_one_position_per_row_and_copies_nothing():
    cache = make()
    cache.reserve(3, 8, [])
    cache.window = DecodeWindow(torch.arange(2), torch.tensor([5, 2]), 6)
    [(keys, values), _] = states(2, 1)
    read, _ = cache.update(keys, values, 0)
    assert read.data_ptr() == cache.layers[0].keys.data_ptr()
    assert torch.equal(read[0, :, 5], keys[0, :, 0])
    assert torch.equal(read[1, :, 2], keys[1, :, 0])
    assert int((read != 0).sum()) == 2 * 3 * 4
    assert cache.get_seq_length() == 5


def fill(cache):
    for seed, buffer in enumerate(cache.buffers):
        buffer.copy_(torch.randn(buffer.shape, generator=torch.Generator().manual_seed(seed)))
    return [buffer.clone() for buffer in cache.buffers]


def test_growing_keeps_what_is_there_and_adds_zeros():
    cache = make(8, 2000)
    cache.reserve(2, 10, [])
    assert (cache.slots, cache.capacity) == (2, 64)
    before = fill(cache)
    cache.reserve(3, 65, [10, 7])
    assert (cache.slots, cache.capacity) == (4, 128)
    for old, new in zip(before, cache.buffers, strict=True):
        assert torch.equal(new[:2, :, :10], old[:, :, :10])
        assert not new[2:].any()
        assert not new[:, :, 10:].any()
    same = cache.buffers[0].data_ptr()
    cache.reserve(4, 128, [10, 7, 3])
    assert cache.buffers[0].data_ptr() == same


def test_it_never_grows_beyond_its_bound():
    cache = make(8, 200)
    cache.reserve(1, 150, [])
    assert cache.slots * cache.capacity <= 200
    before = fill(cache)
    cache.reserve(4, 50, [20])  # the capacity of the long row is given up
    assert (cache.slots, cache.capacity) == (4, 50)
    assert torch.equal(cache.buffers[3][0, :, :20], before[3][0, :, :20])
    assert cache.nbytes == 200 * position_bytes(SHAPES)
    for slots, length in ((4, 51), (9, 1)):
        with pytest.raises(ValueError, match="allowed: 8 rows and 200 positions in all"):
            cache.reserve(slots, length, [])


def test_rows_move_between_slots():
    cache = make()
    cache.reserve(3, 8, [])
    before = fill(cache)
    cache.swap(0, 2, 5)
    cache.copy(2, 1, 4)
    for old, new in zip(before, cache.buffers, strict=True):
        assert torch.equal(new[0, :, :5], old[2, :, :5])
        assert torch.equal(new[2, :, :5], old[0, :, :5])
        assert torch.equal(new[1, :, :4], old[0, :, :4])
        assert torch.equal(new[:, :, 5:], old[:, :, 5:])
    cache.wipe(0)
    assert not any(buffer[0].any() for buffer in cache.buffers)
    assert all(buffer[1].any() for buffer in cache.buffers)


def test_pieces_are_copies_and_come_back_in_order():
    cache = make()
    cache.reserve(2, 8, [])
    before = fill(cache)
    pieces = [cache.take(0, 0, 3), cache.take(0, 3, 5)]
    cache.wipe(0)
    cache.put(1, pieces)
    for old, new in zip(before, cache.buffers, strict=True):
        assert torch.equal(new[1, :, :5], old[0, :, :5])
        assert torch.equal(new[1, :, 5:], old[1, :, 5:])


def test_the_shapes_and_bytes_of_a_models_cache():
    cache = DynamicCache([(torch.zeros(1, 3, 1, 4), torch.zeros(1, 2, 1, 5))])
    assert layer_shapes(cache) == [LayerShape((3, 4), (2, 5), torch.float32)]
    assert position_bytes(layer_shapes(cache)) == 4 * (12 + 10)


def test_the_public_cache_api_that_batching_relies_on():
    """If transformers changes these, batching must be looked at again."""
    cache = DynamicCache(config=LlamaConfig(num_hidden_layers=2))
    assert [type(layer) for layer in cache.layers] == [DynamicLayer, DynamicLayer]
    check_cache(LlamaConfig())


def test_sliding_windows_are_refused():
    with pytest.raises(InputError, match=r"'mistral' keeps DynamicSlidingWindowLayer.*full attention"):
        check_cache(MistralConfig(sliding_window=4, num_hidden_layers=2))
    check_cache(MistralConfig(sliding_window=None, num_hidden_layers=2))
    sliding = DynamicCache(config=MistralConfig(sliding_window=4, num_hidden_layers=1))
    sliding.update(torch.ones(1, 3, 1, 4), torch.ones(1, 3, 1, 4), 0)
    with pytest.raises(InputError, match="DynamicSlidingWindowLayer"):
        layer_shapes(sliding)
