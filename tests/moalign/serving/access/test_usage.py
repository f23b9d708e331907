import pytest

from moalign.serving.access.caller import ANYONE, Caller, Forbidden
from moalign.serving.access.usage import TooMany, Usage


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def usage(clock):
    return Usage(clock)


def test_requests_per_minute(usage, clock):
    caller = Caller("x", requests_per_minute=3)
    for _ in range(3):
        usage.enter(caller)
        usage.leave()
    with pytest.raises(TooMany, match=r"3 a minute \(requests_per_minute\)") as caught:
        usage.enter(caller)
    assert (caught.value.code, caught.value.retry_after) == ("rate_exceeded", 20)
    clock.now += 20
    usage.enter(caller)
    assert usage.running == 1


def test_concurrency(usage):
    caller = Caller("x", concurrency=2)
    usage.enter(caller)
    usage.enter(caller)
    with pytest.raises(TooMany, match="2 requests of this key are running, allowed: 2") as caught:
        usage.enter(caller)
    assert caught.value.code == "concurrency_exceeded"
    usage.leave()
    usage.enter(caller)


def test_a_request_that_is_refused_is_not_counted(usage):
    caller = Caller("x", concurrency=1, requests_per_minute=2)
    usage.enter(caller)
    for _ in range(5):
        with pytest.raises(TooMany, match="concurrency"):
            usage.enter(caller)
    usage.leave()
    usage.enter(caller)  # the second of this minute
    usage.leave()
    with pytest.raises(TooMany, match="a minute"):
        usage.enter(caller)
    assert usage.running == 0


def test_tokens_are_reserved_and_what_is_left_over_comes_back(usage, clock):
    caller = Caller("x", tokens_per_minute=100, tokens_per_day=150)
    settle = usage.reserve(caller, 80)
    with pytest.raises(
        TooMany, match=r"up to 30 tokens, more than this key has left of 100 \(tokens_per_minute\)"
    ) as t:
        usage.reserve(caller, 30)
    assert (t.value.code, t.value.retry_after) == ("tokens_exceeded", 6)  # 10 too many, 100 a minute
    settle(20)
    usage.reserve(caller, 80)(80)
    clock.now += 60
    with pytest.raises(TooMany, match="tokens_per_day") as t:
        usage.reserve(caller, 60)  # 100 of 150 are gone, less a minute's part
    assert t.value.retry_after == pytest.approx(10 / 150 * 86_400 - 60, abs=1)
    usage.reserve(caller, 50)


def test_what_can_never_be_is_no_matter_of_waiting(usage):
    with pytest.raises(Forbidden, match=r"up to 101 tokens, allowed for this key: 100 \(tokens_per_minute\)"):
        usage.reserve(Caller("x", tokens_per_minute=100), 101)


def test_nothing_is_taken_from_one_limit_when_another_refuses(usage):
    caller = Caller("x", tokens_per_minute=100, tokens_per_day=100)
    usage.reserve(Caller("x", tokens_per_day=100), 90)
    with pytest.raises(TooMany, match="tokens_per_day"):
        usage.reserve(caller, 50)
    usage.reserve(Caller("x", tokens_per_minute=100), 100)


def test_without_limits_nothing_is_refused(usage):
    for _ in range(1000):
        usage.enter(ANYONE)
        usage.reserve(ANYONE, 10**9)(0)
    assert usage.running == 1000


def test_no_more_tokens_than_allowed_however_long_a_request_takes(usage, clock):
    caller = Caller("x", tokens_per_minute=1000)
    settle = usage.reserve(caller, 1000)
    clock.now += 60
    usage.reserve(caller, 1000)
    settle(10)
    with pytest.raises(TooMany, match="tokens_per_minute"):
        usage.reserve(caller, 980)
