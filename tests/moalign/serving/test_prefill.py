from hypothesis import given
from hypothesis import strategies as st

from moalign.serving.prefill import choose_chunk

REMAINING = st.lists(st.integers(1, 500), min_size=1, max_size=12)


def test_the_oldest_takes_what_it_can_and_others_as_long_join():
    assert choose_chunk([100, 8, 7], 32, oldest_first=True) == [(0, 32)]
    assert choose_chunk([10, 3, 9, 400], 32, oldest_first=True) == [(0, 10), (2, 9), (3, 10)]


def test_short_prompts_are_finished_together():
    assert choose_chunk([100, 8, 7, 13, 30], 64, oldest_first=False) == [(2, 7), (1, 8), (3, 13), (4, 14)]


@given(REMAINING, st.integers(1, 300), st.booleans())
def test_never_more_than_the_budget_nor_more_padding_than_work(remaining, budget, oldest_first):
    chunk = choose_chunk(remaining, budget, oldest_first)
    takes = [take for _, take in chunk]
    assert all(1 <= take <= remaining[i] for i, take in chunk)
    assert len({i for i, _ in chunk}) == len(chunk)
    assert len(takes) * max(takes) <= budget
    assert 2 * sum(takes) >= len(takes) * max(takes)


@given(REMAINING, st.integers(1, 300))
def test_every_prompt_is_finished(remaining, budget):
    left, turns = dict(enumerate(remaining)), 0
    first = None
    while left:
        keys = list(left)
        for i, take in choose_chunk([left[k] for k in keys], budget, turns % 2 == 0):
            left[keys[i]] -= take
        left = {k: v for k, v in left.items() if v}
        turns += 1
        if first is None and 0 not in left:
            first = turns
    assert first <= 2 * -(-remaining[0] // budget)  # the oldest gets every second chunk, all of it if need be
