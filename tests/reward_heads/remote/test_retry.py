import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads.remote import RemoteError, Retry
from reward_heads.remote.errors import Transient
from reward_heads.remote.retry import Attempts


def run(clock, outcomes, retry, *, deadline=None, timeout=5.0):
    """Each outcome is a value or an exception; returns the result and what is left of the outcomes."""

    async def attempt():
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    attempts = Attempts.start(retry, timeout, deadline, clock)
    return asyncio.run(attempts.run(attempt, "the server"))


def test_waits_twice_as_long_each_time_with_jitter(clock):
    retry = Retry(attempts=5, first_wait=1.0, longest_wait=3.0, seed=0)
    assert run(clock, [Transient("x")] * 4 + ["done"], retry) == "done"
    assert len(clock.slept) == 4
    for slept, most in zip(clock.slept, [1.0, 2.0, 3.0, 3.0], strict=True):
        assert most / 2 <= slept <= most


def test_the_wait_by_hand():
    retry = Retry(first_wait=0.5, longest_wait=30.0)
    assert retry.wait(1, 0.0) == 0.25
    assert retry.wait(3, 0.5) == 0.5 * 4 * 0.75
    assert retry.wait(10_000, 0.0) == 15.0  # no overflow


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(0, 0.999))
def test_the_wait_stays_in_its_range(failures, draw):
    assert 0.25 <= Retry().wait(failures, draw) <= 30.0


def test_gives_up_and_says_why(clock):
    with pytest.raises(RemoteError, match=r"^the server: overloaded \(attempt 3 of 3\)$") as caught:
        run(clock, [Transient("overloaded", status=503)] * 3, Retry(attempts=3))
    assert caught.value.status == 503
    assert len(clock.slept) == 2


def test_other_errors_are_not_tried_again(clock):
    left = [KeyError("bug"), "never"]
    with pytest.raises(KeyError):
        run(clock, left, Retry())
    assert left == ["never"]


def test_does_as_the_server_asks(clock):
    run(clock, [Transient("busy", wait=7.0), 1], Retry(first_wait=0.1))
    assert clock.slept == [7.0]
    with pytest.raises(RemoteError, match=r"busy .*asks to wait 3600 s, longest_wait is 30 s"):
        run(clock, [Transient("busy", wait=3600.0), 1], Retry())
    assert clock.slept == [7.0]


def test_the_deadline_holds_for_all_attempts(clock):
    with pytest.raises(RemoteError, match=r"busy \(attempt 2 of 9; the next one would be after the deadline\)"):
        run(clock, [Transient("busy", wait=4.0)] * 9, Retry(attempts=9), deadline=5.0)
    assert clock.slept == [4.0]


def test_a_deadline_that_passed_starts_nothing(clock):
    attempts = Attempts.start(Retry(), 1.0, 2.0, clock)
    clock.time += 3
    with pytest.raises(RemoteError, match="deadline passed"):
        asyncio.run(attempts.run(lambda: pytest.fail("must not start"), "the server"))


def test_a_slow_attempt_is_cut_off_and_tried_again(clock):
    calls = []

    async def attempt():
        calls.append(1)
        if len(calls) == 1:
            await asyncio.sleep(30)
        return "second"

    attempts = Attempts.start(Retry(), 0.02, None, clock)
    assert asyncio.run(attempts.run(attempt, "the server")) == "second"
    assert len(calls) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"first_wait": -1},
        {"longest_wait": math.inf},
        {"first_wait": math.nan},
    ],
)
def test_refuses(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Retry(**wrong)
