"""Try again what may pass: exponential backoff with jitter, a timeout for each attempt, a deadline for all."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from frontier.errors import InputError
from reward_heads.remote.errors import RemoteError, Transient

T = TypeVar("T")


class Clock(Protocol):
    """Where waiting happens; tests bring one that does not wait."""

    def now(self) -> float:
        """Seconds since some fixed moment."""

    async def sleep(self, seconds: float) -> None:
        """Come back after `seconds`."""


class RealClock:
    """The clock on the wall."""

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let others run for `seconds`."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a failed request is tried again.

    Before attempt n + 1 it waits min(longest_wait, first_wait · 2^(n − 1)) seconds times a random factor between 1/2 and 1, so that many clients do not come
    back at once; or as long as the server asks in `Retry-After`, if that is more. A server that asks for more than `longest_wait` is not waited for.

    Args:
        attempts (`int`, *optional*, defaults to 4): tries in all; 1 = none again.
        first_wait (`float`, *optional*, defaults to 0.5): seconds.
        longest_wait (`float`, *optional*, defaults to 30): seconds.
        seed (`int`, *optional*): of the random factor, for tests; by default it differs between processes, as it should.

    Raises:
        InputError: fewer than one attempt, or a wait that is negative or not finite.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 30.0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_count("attempts", self.attempts)
        for name, value in (("first_wait", self.first_wait), ("longest_wait", self.longest_wait)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} must be at least 0 seconds and finite, found {value}")

    def wait(self, failures: int, draw: float) -> float:
        """Seconds to wait after `failures` attempts; `draw` is uniform in [0, 1)."""
        return min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 60)) * (0.5 + 0.5 * draw)


@dataclass(frozen=True)
class Attempts:
    """Everything that one call of `score` needs for trying again, shared by its requests.

    Args:
        retry (`Retry`): how often.
        timeout (`float`): seconds for one attempt.
        deadline (`float`): when the call must be over, on `clock`; infinity = whenever.
        clock (`Clock`): for waiting.
        random (`random.Random`): for the jitter.
    """

    retry: Retry
    timeout: float
    deadline: float
    clock: Clock
    random: random.Random

    @classmethod
    def start(cls, retry: Retry, timeout: float, deadline: float | None, clock: Clock) -> "Attempts":
        """`deadline` counts from now."""
        end = math.inf if deadline is None else clock.now() + deadline
        return cls(retry, timeout, end, clock, random.Random(retry.seed))

    async def run(self, attempt: Callable[[], Awaitable[T]], what: str) -> T:
        """The result of the first attempt that neither times out nor raises [`Transient`].

        Args:
            attempt (`Callable`): starts one attempt.
            what (`str`): begins the message: what was tried.

        Raises:
            RemoteError: the attempts or the time are used up; anything else that an attempt raises passes through.
        """
        failures = 0
        while True:
            left = self.deadline - self.clock.now()
            if left <= 0:
                raise RemoteError(f"{what}: the deadline passed before there was an answer")
            try:
                async with asyncio.timeout(min(self.timeout, left)):
                    return await attempt()
            except TimeoutError:
                problem = Transient(f"no answer within {min(self.timeout, left):g} s")
            except Transient as error:
                problem = error
            failures += 1
            await self._before_the_next(failures, problem, what)

    async def _before_the_next(self, failures: int, problem: Transient, what: str) -> None:
        tried = f"{what}: {problem} (attempt {failures} of {self.retry.attempts}"
        if failures >= self.retry.attempts:
            raise RemoteError(f"{tried})", problem.status)
        if problem.wait > self.retry.longest_wait:
            asked = f"the server asks to wait {problem.wait:g} s, longest_wait is {self.retry.longest_wait:g} s"
            raise RemoteError(f"{tried}; {asked})", problem.status)
        wait = max(problem.wait, self.retry.wait(failures, self.random.random()))
        if self.clock.now() + wait >= self.deadline:
            raise RemoteError(f"{tried}; the next one would be after the deadline)", problem.status)
        await self.clock.sleep(wait)


def check_count(name: str, value: Any) -> None:
    """Refuse what is not a whole number of at least 1.

    Raises:
        InputError: names `name`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, found {value!r}")


def check_seconds(name: str, value: Any) -> None:
    """Refuse what is not a positive, finite number of seconds.

    Raises:
        InputError: names `name`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{name} must be a positive number of seconds, found {value!r}")
