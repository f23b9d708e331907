"""Allow so much per minute, spread as the caller likes."""

from dataclasses import dataclass


@dataclass(eq=False)
class Reserved:
    """What was taken of a bucket, and of which a part may come back.

    Args:
        amount (`float`): taken.
        lowest (`float`): the least that the bucket held since then.
    """

    amount: float
    lowest: float


class Bucket:
    """A token bucket: what is taken counts for a while and is forgotten at an even rate.

    The limit is given with every call, since a policy file may change it meanwhile.

    Args:
        seconds (`float`): time in which a full bucket is forgotten.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._used = 0.0
        self._since = 0.0
        self._reserved: list[Reserved] = []

    def wait(self, amount: float, limit: float, now: float) -> float:
        """Seconds until `amount` may be taken; 0 if it may be now. An amount above the limit itself may never.

        Args:
            amount (`float`): as much as is to be taken.
            limit (`float`): as much as the bucket holds, above 0.
            now (`float`): seconds of a clock that never goes back.
        """
        self._forget(limit, now)
        return max(0.0, (self._used + amount - limit) * self.seconds / limit)

    def take(self, amount: float, limit: float, now: float) -> None:
        """Count this; ask `wait` before."""
        self._forget(limit, now)
        self._used += amount

    def reserve(self, amount: float, limit: float, now: float) -> Reserved:
        """Count this until `settle` tells how much it was."""
        self.take(amount, limit, now)
        reserved = Reserved(amount, self._used)
        self._reserved.append(reserved)
        return reserved

    def settle(self, reserved: Reserved, needed: float, limit: float, now: float) -> None:
        """Count `needed` instead of what was reserved, from the time of the reservation on.

        What was forgotten meanwhile can't come back: without the rest of the reservation, a bucket that came down to `lowest` would have been empty
        there if the rest is more than that. Otherwise others could take what is left of one reservation twice.
        """
        self._forget(limit, now)
        self._reserved.remove(reserved)
        back = min(reserved.amount - needed, reserved.lowest)
        self._used = max(0.0, self._used - back)
        for other in self._reserved:
            other.lowest = max(0.0, other.lowest - back)

    def _forget(self, limit: float, now: float) -> None:
        self._used = max(0.0, self._used - (now - self._since) * limit / self.seconds)
        self._since = now
        for reserved in self._reserved:
            reserved.lowest = min(reserved.lowest, self._used)
