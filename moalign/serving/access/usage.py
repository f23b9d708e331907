"""Count what each key uses, and refuse what is beyond its limits."""

import math
import time
from collections.abc import Callable

from moalign.serving.access.bucket import Bucket
from moalign.serving.access.caller import Caller, Forbidden

MINUTE, DAY = 60.0, 86_400.0


class TooMany(Exception):
    """The caller has to wait (429).

    Args:
        message (`str`): which limit was met.
        code (`str`): for programs.
        retry_after (`float`): seconds after which trying again makes sense.
    """

    def __init__(self, message: str, code: str, retry_after: float) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retry_after = max(1, math.ceil(retry_after))


class Usage:
    """What one key has used. It lives in memory, so a restart forgets it. Not thread-safe: for the event loop.

    Args:
        clock (`Callable`, *optional*): seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.running = 0
        self._clock = clock
        self._requests = Bucket(MINUTE)
        self._tokens_per_minute = Bucket(MINUTE)
        self._tokens_per_day = Bucket(DAY)

    def enter(self, caller: Caller) -> None:
        """Count one request that begins; `leave` ends it.

        Raises:
            TooMany: as many run already as may, or as many came within a minute.
        """
        if caller.concurrency is not None and self.running >= caller.concurrency:
            raise TooMany(
                f"{self.running} requests of this key are running, allowed: {caller.concurrency} (concurrency)",
                "concurrency_exceeded",
                1,
            )
        limit = caller.requests_per_minute
        if limit is not None:
            now = self._clock()
            wait = self._requests.wait(1, limit, now)
            if wait > 0:
                raise TooMany(
                    f"more requests of this key than {limit} a minute (requests_per_minute)", "rate_exceeded", wait
                )
            self._requests.take(1, limit, now)
        self.running += 1

    def leave(self) -> None:
        """One request has ended, well or not."""
        self.running -= 1

    def reserve(self, caller: Caller, tokens: int) -> Callable[[int], None]:
        """Count as many tokens as a request may need; call what is returned with the number that it needed, once.

        Raises:
            Forbidden: so many are never allowed.
            TooMany: not now.
        """
        limits = (
            ("tokens_per_minute", caller.tokens_per_minute, self._tokens_per_minute),
            ("tokens_per_day", caller.tokens_per_day, self._tokens_per_day),
        )
        now = self._clock()
        taken = [(name, limit, bucket) for name, limit, bucket in limits if limit is not None]
        for name, limit, bucket in taken:
            what = f"prompt and max_tokens make up to {tokens} tokens"
            if tokens > limit:
                raise Forbidden(f"{what}, allowed for this key: {limit} ({name})", "max_tokens", "tokens_not_allowed")
            wait = bucket.wait(tokens, limit, now)
            if wait > 0:
                raise TooMany(f"{what}, more than this key has left of {limit} ({name})", "tokens_exceeded", wait)
        reserved = [(bucket.reserve(tokens, limit, now), limit, bucket) for _, limit, bucket in taken]

        def settle(needed: int) -> None:
            then = self._clock()
            for one, limit, bucket in reserved:
                bucket.settle(one, needed, limit, then)

        return settle
