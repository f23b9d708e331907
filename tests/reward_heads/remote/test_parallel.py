import asyncio
import contextvars
import threading

import pytest

from frontier.errors import InputError
from reward_heads.remote import RemoteError, RequestRefused
from reward_heads.remote.parallel import check_on_failure, in_parallel, run_blocking


async def answer():
    return threading.current_thread()


def test_runs_here_without_a_loop_and_elsewhere_within_one():
    assert run_blocking(answer) is threading.current_thread()

    async def within():
        return run_blocking(answer)

    assert asyncio.run(within()) is not threading.current_thread()


def test_context_goes_along_and_errors_come_back():
    number = contextvars.ContextVar("number", default=0)

    async def read():
        raise KeyError(number.get())

    async def within():
        number.set(7)
        run_blocking(read)

    with pytest.raises(KeyError, match="7"):
        asyncio.run(within())


@pytest.mark.parametrize(("concurrency", "jobs"), [(3, 10), (1, 4), (8, 5)])
def test_no_more_than_so_many_at_once(concurrency, jobs):
    running, most = 0, 0

    async def job(i):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002 * (jobs - i))  # the later ones end first
        running -= 1
        return i

    results = asyncio.run(in_parallel([lambda i=i: job(i) for i in range(jobs)], concurrency, "raise"))
    assert results == list(range(jobs))
    assert most == min(concurrency, jobs)


def test_the_first_error_stops_the_others():
    started, cancelled = [], []

    async def wait():
        started.append(1)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def fail():
        await asyncio.sleep(0.01)
        raise RemoteError("broken")

    with pytest.raises(RemoteError, match="broken"):
        asyncio.run(in_parallel([wait, fail, wait, wait], 3, "raise"))
    assert len(started) == len(cancelled) == 2


def test_missing_keeps_the_errors_but_not_every_error():
    async def fail():
        raise RemoteError("broken")

    async def fine():
        return 1

    async def refused():
        raise RequestRefused("no right", 401)

    async def bug():
        raise KeyError("bug")

    found = asyncio.run(in_parallel([fine, fail, fine], 1, "missing"))
    assert found[0] == found[2] == 1
    assert isinstance(found[1], RemoteError)
    for job, kind in ((refused, RequestRefused), (bug, KeyError)):
        with pytest.raises(kind):
            asyncio.run(in_parallel([fine, job], 2, "missing"))


def test_nothing_to_do():
    assert asyncio.run(in_parallel([], 3, "raise")) == []


def test_refuses_another_policy():
    assert check_on_failure("missing") == "missing"
    with pytest.raises(InputError, match="on_failure must be one of raise, missing, found 'ignore'"):
        check_on_failure("ignore")
