import asyncio

import pytest

from reward_heads.remote import RemoteError, ScoreCache
from reward_heads.remote.asking import ask_all


def ask(questions, answer, **options):
    settings = {"cache": None, "batch_size": 2, "concurrency": 1, "on_failure": "raise", **options}
    return asyncio.run(ask_all(questions, answer, **settings))


def test_batches_and_order():
    seen = []

    async def double(batch):
        seen.append(batch)
        return [2 * x for x in batch]

    assert ask({"a": 1, "b": 2, "c": 3}, double) == {"a": 2, "b": 4, "c": 6}
    assert seen == [[1, 2], [3]]


def test_known_answers_are_not_asked_for():
    cache = ScoreCache(":memory:")
    cache.put({"a": "known"})

    async def answer(batch):
        assert batch == [2]
        return ["new"]

    assert ask({"a": 1, "b": 2}, answer, cache=cache) == {"a": "known", "b": "new"}
    assert cache.get(["b"]) == {"b": "new"}


def test_a_failed_batch_is_its_error_and_is_not_remembered():
    cache = ScoreCache(":memory:")

    async def fail_on_three(batch):
        if 3 in batch:
            raise RemoteError("three")
        return batch

    found = ask({"a": 1, "b": 2, "c": 3}, fail_on_three, cache=cache, on_failure="missing")
    assert (found["a"], found["b"], str(found["c"])) == (1, 2, "three")
    assert cache.get(["a", "b", "c"]) == {"a": 1, "b": 2}
    with pytest.raises(RemoteError, match="three"):
        ask({"c": 3}, fail_on_three)
