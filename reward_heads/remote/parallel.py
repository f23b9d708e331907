"""Run many waiting jobs at once, a bounded number at a time, from ordinary code, whether or not an event loop runs already."""

import asyncio
import contextvars
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from frontier.errors import InputError
from reward_heads.remote.errors import RemoteError, RequestRefused

T = TypeVar("T")
OnFailure = Literal["raise", "missing"]
ON_FAILURE = ("raise", "missing")


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end and return its result.

    Inside a running event loop (a notebook, a web server) it runs on a loop of its own in another thread, because a running loop cannot be entered twice;
    the running loop waits.

    Args:
        make (`Callable`): makes the coroutine, in the thread where it will run.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="remote-reward") as pool:
        return pool.submit(context.run, lambda: asyncio.run(make())).result()


async def in_parallel(
    jobs: Sequence[Callable[[], Awaitable[T]]], concurrency: int, on_failure: OnFailure
) -> list[T | RemoteError]:
    """The results of all jobs, in their order, at most `concurrency` running at a time.

    Args:
        jobs (`Sequence[Callable]`): each starts one job.
        concurrency (`int`): at least 1.
        on_failure (`str`): with `"missing"` a job that raised [`RemoteError`] has the error as its result; with `"raise"` the first error stops the others.

    Raises:
        Exception: what a job raised; [`RequestRefused`] also with `"missing"`.
    """
    results: list[Any] = [None] * len(jobs)
    waiting = iter(enumerate(jobs))  # shared by the workers; one thread, so each job is taken once

    async def work() -> None:
        for index, job in waiting:
            try:
                results[index] = await job()
            except RequestRefused:
                raise
            except RemoteError as error:
                if on_failure == "raise":
                    raise
                results[index] = error

    workers = [asyncio.ensure_future(work()) for _ in range(min(concurrency, len(jobs)))]
    try:
        await asyncio.gather(*workers)
    except BaseException:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        raise
    return results


def check_on_failure(value: Any) -> OnFailure:
    """The value, once it is one of the two.

    Raises:
        InputError: it is not.
    """
    if value not in ON_FAILURE:
        raise InputError(f"on_failure must be one of {', '.join(ON_FAILURE)}, found {value!r}")
    return "raise" if value == "raise" else "missing"


def warn_missing(what: str, missing: int, total: int, reason: object) -> None:
    """Say how many scores are not known and why the first of them is not."""
    warnings.warn(f"{missing} of {total} {what} are not known (NaN): {reason}", stacklevel=4)
