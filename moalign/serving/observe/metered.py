"""Count and time the tokens of a stream as they pass."""

from collections.abc import AsyncIterator, Callable

from moalign.serving.engine import DeltaStream
from moalign.serving.observe.record import DISCONNECTED, Record
from moalign.serving.request import Delta


class MeteredStream:
    """The same pieces as `stream`, in the same order; `record` learns their number and their times.

    Args:
        stream (`DeltaStream`): what the engine makes.
        choices (`int`): answers to come.
        record (`Record`): of the request.
        settle (`Callable`): told the number of tokens of prompts and answers, once, when the stream is over or given up.
    """

    def __init__(self, stream: DeltaStream, choices: int, record: Record, settle: Callable[[int], None]) -> None:
        self._stream = stream
        self._open = choices
        self.record = record
        self._settle = settle
        self._tokens = 0
        self._times: dict[tuple[int, int], tuple[float, float, int]] = {}
        self._over = False

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """The pieces; raises as the stream does."""
        async for delta in self._stream:
            self._count(delta)
            yield delta

    def cancel(self) -> None:
        """Stop the work and the counting; call it however the stream ended."""
        self._stream.cancel()
        if self._over:
            return
        self._over = True
        record = self.record
        record.completion_tokens = self._tokens
        record.token_seconds = [(last - first) / (n - 1) for first, last, n in self._times.values() if n > 1]
        if self._open and record.code is None:
            record.code = DISCONNECTED
        self._settle((record.prompt_tokens or 0) + self._tokens)

    def _count(self, delta: Delta) -> None:
        self._open -= delta.finish_reason is not None
        count = len(delta.token_ids)
        if not count:
            return
        now = self.record.elapsed()
        if self.record.first_token_seconds is None:
            self.record.first_token_seconds = now
        self._tokens += count
        first, _, before = self._times.get((delta.request, delta.choice), (now, now, 0))
        self._times[delta.request, delta.choice] = first, now, before + count
