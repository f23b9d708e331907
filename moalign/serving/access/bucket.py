"""Allow so much per minute, spread as the caller likes."""


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

    def give_back(self, amount: float) -> None:
        """Of what was taken, this was not used after all."""
        self._used = max(0.0, self._used - amount)

    def _forget(self, limit: float, now: float) -> None:
        self._used = max(0.0, self._used - (now - self._since) * limit / self.seconds)
        self._since = now
