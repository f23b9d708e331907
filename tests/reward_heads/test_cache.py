import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads.cache import CachedReward
from reward_heads.functions import FunctionReward


class Counting:
    """Scores are random per call, so an answer from memory is recognisable; counts what was asked."""

    objectives = ("a", "b")

    def __init__(self):
        self.batches = []

    def score(self, prompts, completions):
        self.batches.append(list(zip(prompts, completions, strict=True)))
        return torch.randn(len(prompts), 2)


def test_scores_each_distinct_text_once():
    inner = Counting()
    reward = CachedReward(inner)
    first = reward.score(["p", "p", "p"], ["x", "y", "x"])
    assert first[0].equal(first[2])
    assert inner.batches == [[("p", "x"), ("p", "y")]]
    second = reward.score(["p", "p"], ["y", "z"])
    assert second[0].equal(first[1])
    assert inner.batches[1:] == [[("p", "z")]]
    reward.score(["p"], ["z"])
    assert len(inner.batches) == 2
    assert (reward.hits, reward.misses) == (3, 3)


def test_the_prompt_is_part_of_the_key_and_so_is_the_form():
    inner = Counting()
    reward = CachedReward(inner)
    message = [{"role": "assistant", "content": "x"}]
    reward.score(["p", "q", "p", "p"], ["x", "x", message, [*message, *message]])
    assert len(inner.batches[0]) == 4
    reward.score(["p"], [[{"content": "x", "role": "assistant"}]])
    assert len(inner.batches) == 1


def test_least_recently_used_goes_first():
    inner = Counting()
    reward = CachedReward(inner, max_entries=2)
    reward.score(["p", "p"], ["x", "y"])
    reward.score(["p"], ["x"])  # y is now the older one
    reward.score(["p"], ["z"])
    reward.score(["p"], ["x"])
    assert len(inner.batches) == 2
    reward.score(["p"], ["y"])
    assert len(inner.batches) == 3


def test_a_batch_larger_than_the_cache_is_complete():
    inner = Counting()
    reward = CachedReward(inner, max_entries=1)
    scores = reward.score(["p"] * 3, ["x", "y", "x"])
    assert scores.shape == (3, 2)
    assert scores[0].equal(scores[2])
    assert reward.score([], []).shape == (0, 2)


def test_changing_what_was_returned_does_not_change_the_memory():
    reward = CachedReward(Counting())
    first = reward.score(["p"], ["x"])
    kept = first.clone()
    first.zero_()
    assert reward.score(["p"], ["x"]).equal(kept)
    reward.clear()
    assert not reward.score(["p"], ["x"]).equal(kept)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from("uvwxyz"), max_size=5), max_size=6), st.integers(1, 4))
def test_is_exact(batches, size):
    plain = FunctionReward({"code": lambda p, c: ord(c), "none": lambda p, c: None})
    reward = CachedReward(plain, max_entries=size)
    for batch in batches:
        got, expected = reward.score([""] * len(batch), batch), plain.score([""] * len(batch), batch)
        assert torch.equal(got.nan_to_num(-1), expected.nan_to_num(-1))
        assert len(reward._rows) <= size


def test_refuses_no_room():
    with pytest.raises(InputError, match="max_entries must be at least 1"):
        CachedReward(Counting(), max_entries=0)
