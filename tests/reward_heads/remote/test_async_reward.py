import asyncio
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.remote import AsyncReward, RemoteError, Retry
from reward_heads.saved import save_reward

NAN = math.nan


async def length(prompt, completion):
    await asyncio.sleep(0)
    return len(completion)


def test_a_number_a_sequence_or_a_mapping():
    async def both(prompt, completion):
        return [len(prompt), None]

    async def named(prompt, completion):
        return {"b": len(completion)}

    async def unknown(prompt, completion):
        return None

    assert AsyncReward("long", length).score(["p", "p"], ["a", "bb"]).tolist() == [[1.0], [2.0]]
    assert_close(AsyncReward(["a", "b"], both).score(["xyz"], ["c"]), torch.tensor([[3.0, NAN]]), equal_nan=True)
    assert_close(AsyncReward(["a", "b"], named).score(["xyz"], ["cc"]), torch.tensor([[NAN, 2.0]]), equal_nan=True)
    assert AsyncReward(["a", "b"], unknown).score(["p"], ["c"]).isnan().all()
    assert AsyncReward("long", length).score([], []).shape == (0, 1)


def test_conversations_arrive_as_text_unless_raw():
    seen = []

    async def note(prompt, completion):
        seen.append((prompt, completion))
        return 0

    message = [{"role": "user", "content": "Hi"}]
    AsyncReward("a", note).score([message], ["c"])
    AsyncReward("a", note, raw=True).score([message], ["c"])
    assert seen == [("Hi", "c"), (message, "c")]


def test_within_a_running_loop():
    async def within():
        reward = AsyncReward("long", length)
        return reward.score(["p"], ["aa"]), await reward.score_async(["p"], ["aaa"])

    blocking, awaited = asyncio.run(within())
    assert (blocking.item(), awaited.item()) == (2.0, 3.0)


def test_bounded_concurrency():
    running = most = 0

    async def busy(prompt, completion):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return 1

    AsyncReward("a", busy, concurrency=3).score(["p"] * 9, ["c"] * 9)
    assert most == 3


def failing(errors):
    """An async function that raises these and then answers."""
    left = list(errors)

    async def function(prompt, completion):
        if left:
            raise left.pop(0)
        return 5.0

    return function


def test_connections_are_tried_again_and_mistakes_are_not(clock):
    retry = Retry(attempts=3, first_wait=1.0)
    passing = [ConnectionError("reset"), TimeoutError()]
    assert AsyncReward("a", failing(passing), retry=retry, clock=clock).score(["p"], ["c"]).item() == 5.0
    assert len(clock.slept) == 2
    with pytest.raises(KeyError):
        AsyncReward("a", failing([KeyError("bug")]), on_failure="missing", clock=clock).score(["p"], ["c"])
    own = AsyncReward("a", failing([KeyError("rate limit")]), retry_on=(KeyError,), clock=clock)
    assert own.score(["p"], ["c"]).item() == 5.0


def test_attempts_are_used_up(clock):
    errors = [ConnectionError("reset")] * 2
    with pytest.raises(RemoteError, match=r"function: ConnectionError: reset \(attempt 2 of 2\)"):
        AsyncReward("a", failing(errors), retry=Retry(attempts=2), clock=clock).score(["p"], ["c"])
    reward = AsyncReward(
        ["a", "b"], failing(errors), retry=Retry(attempts=1), on_failure="missing", concurrency=1, clock=clock
    )
    with pytest.warns(UserWarning, match="1 of 1 rows are not known"):
        assert reward.score(["p"], ["c"]).isnan().all()
    assert reward.failures == 1


def test_a_slow_call_is_cancelled():
    cancelled = []

    async def slow(prompt, completion):
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.append(completion)

    with pytest.raises(RemoteError, match=r"no answer within 0.02 s"):
        AsyncReward("a", slow, timeout=0.02, retry=Retry(attempts=1)).score(["p"], ["c"])
    assert cancelled == ["c"]


@pytest.mark.parametrize(
    ("value", "message"), [("high", "must be a number"), (math.inf, "must be finite"), ([1, 2], "expected 1 scores")]
)
def test_refuses_what_is_no_score(value, message):
    async def wrong(prompt, completion):
        return value

    with pytest.raises(InputError, match=message):
        AsyncReward("a", wrong).score(["p"], ["c"])


def test_refuses_one_number_for_two_objectives():
    with pytest.raises(InputError, match=r"length must return 2 numbers \(a, b\) or a mapping, found 1"):
        AsyncReward(["a", "b"], length).score(["p"], ["c"])


def test_refuses_a_plain_function():
    with pytest.raises(InputError, match=r"must be an async function, it returned 1.0: use FunctionReward"):
        AsyncReward("a", lambda p, c: 1.0).score(["p"], ["c"])
    with pytest.raises(InputError, match="must be an async function"):
        AsyncReward("a", 3)
    with pytest.raises(InputError, match="deadline must be a positive"):
        AsyncReward("a", length, deadline=-1)


def test_code_cannot_be_saved(tmp_path):
    with pytest.raises(InputError, match="AsyncReward can't be saved"):
        save_reward(AsyncReward("a", length), tmp_path)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (torch.tensor([1.0, 2.0]), ["a", "b"]),
        (np.array([1.0, 2.0]), ["a", "b"]),
        (torch.tensor([1.0]), ["a"]),
        (torch.tensor(1.0), ["a"]),
        (np.float64(1.0), ["a"]),
    ],
)
def test_tensors_and_arrays(value, names):
    async def function(prompt, completion):
        return value

    assert AsyncReward(names, function).score(["p"], ["c"]).tolist() == [[1.0, 2.0][: len(names)]]
