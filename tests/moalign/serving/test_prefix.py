import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moalign.serving.cache import LayerShape, SlotCache
from moalign.serving.prefix import BLOCK, PrefixKeys, PrefixStore

A, B = torch.tensor([0.7, 0.3]), torch.tensor([0.3, 0.7])
SHAPES = [LayerShape((2, 4), (1, 3), torch.float32)] * 2


def make(max_tokens, slots=2, length=128):
    cache = SlotCache(SHAPES, torch.device("cpu"), slots, slots * length)
    cache.reserve(slots, length, [])
    generator = torch.Generator().manual_seed(0)
    for buffer in cache.buffers:
        buffer[0] = torch.randn(buffer[0].shape, generator=generator)
    return cache, PrefixStore(cache, max_tokens)


def restore(store, weights, prompt, slot):
    keys = PrefixKeys.of(weights, prompt)
    known = store.known(keys)
    assert store.restore(keys, slot) == known
    return known


def remember(store, weights, prompt, slot):
    store.remember(PrefixKeys.of(weights, prompt), slot)


def same(cache, length):
    return all(torch.equal(b[0, :, :length], b[1, :, :length]) for b in cache.buffers)


def test_a_known_beginning_is_put_back_in_whole_blocks():
    cache, store = make(100)
    prompt = list(range(40))
    remember(store, A, prompt, 0)
    assert store.tokens == 32
    assert restore(store, A, [*prompt[:20], 99, *prompt[21:]], 1) == 16
    assert restore(store, A, [*prompt, 7], 1) == 32
    assert same(cache, 32)
    assert not any(b[1, :, 32:].any() for b in cache.buffers)
    assert store.reused == 48


def test_a_token_is_always_left_to_compute():
    _, store = make(100)
    remember(store, A, list(range(32)), 0)
    assert restore(store, A, list(range(32)), 1) == 16
    assert restore(store, A, list(range(33)), 1) == 32


def test_never_across_weights_however_close():
    _, store = make(100)
    prompt = list(range(40))
    remember(store, A, prompt, 0)
    assert restore(store, B, prompt, 1) == 0
    assert restore(store, torch.nextafter(A, torch.ones(2)), prompt, 1) == 0
    assert restore(store, A.clone(), prompt, 1) == 32


def test_a_block_depends_on_all_before_it():
    _, store = make(100)
    remember(store, A, [1] * 16 + [2] * 16, 0)
    assert restore(store, A, [2] * 20, 1) == 0
    assert restore(store, A, [3] * 16 + [2] * 20, 1) == 0


def test_shared_beginnings_are_kept_once_and_the_least_recently_used_end_goes_first():
    _, store = make(4 * BLOCK)
    head = [1] * 32
    remember(store, A, [*head, *[2] * 16], 0)
    remember(store, A, [*head, *[3] * 16], 0)
    assert store.tokens == 64
    assert restore(store, A, [*head, *[2] * 16, 0], 1) == 48
    remember(store, A, [*head, *[4] * 16], 0)  # the branch of 3s was used least
    assert store.tokens == 64
    assert [restore(store, A, [*head, *[x] * 16, 0], 1) for x in (2, 3, 4)] == [48, 32, 48]


def test_of_a_prompt_that_is_too_long_the_beginning_is_kept():
    _, store = make(2 * BLOCK)
    remember(store, A, list(range(100)), 0)
    assert restore(store, A, list(range(100)), 1) == 32


def test_nothing_is_kept_where_it_is_off():
    _, store = make(0)
    remember(store, A, list(range(40)), 0)
    assert store.tokens == 0
    assert restore(store, A, list(range(40)), 1) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 100)), max_size=30))
@settings(deadline=None)
def test_the_bound_holds_and_no_block_is_without_its_beginning(prompts):
    _, store = make(5 * BLOCK)
    for first, second, length in prompts:
        prompt = ([first] * 24 + [second] * 100)[:length]
        found = restore(store, A, prompt, 1)
        assert found % BLOCK == 0
        assert found < length
        remember(store, A, prompt, 0)
        assert store.tokens <= 5 * BLOCK
        kept = min(length // BLOCK, 5) * BLOCK
        assert restore(store, A, [*prompt, 0], 1) == kept
