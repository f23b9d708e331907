"""Keep one steerable policy busy for many clients: requests join and leave the batch between steps, each with its own weights."""

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moalign.policy import SteerablePolicy
from moalign.serving.batch import RunningBatch
from moalign.serving.request import (
    Completion,
    Delta,
    EngineStopped,
    Event,
    FieldError,
    Gathered,
    GenerationFailed,
    GenerationRequest,
    QueueFull,
    Ticket,
)
from moalign.serving.row import Row

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStats:
    """What the engine is doing.

    Args:
        running (`int`): rows in the batch.
        waiting (`int`): rows in the queue.
        cache_tokens (`int`): positions that the cache holds, padding included.
        steps (`int`): decode steps since the start.
        tokens (`int`): tokens generated since the start.
    """

    running: int
    waiting: int
    cache_tokens: int
    steps: int
    tokens: int


class DeltaStream:
    """The pieces of submitted requests as they come: `async for delta in engine.stream(request)`.

    Args:
        ticket (`Ticket`): of the requests.
        events (`asyncio.Queue`): filled by the engine; `None` ends the stream.
        choices (`int`): answers to come.
    """

    def __init__(self, ticket: Ticket, events: "asyncio.Queue[Event | None]", choices: int) -> None:
        self._ticket = ticket
        self._events = events
        self._open = choices

    def cancel(self) -> None:
        """Stop working on these requests and end the stream; call it from the event loop."""
        self._ticket.cancel()
        self._events.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Pieces of all answers, until each has finished. Whoever stops listening early calls `cancel`.

        Raises:
            GenerationFailed: the engine could not finish.
        """
        while self._open:
            event = await self._events.get()
            if event is None:
                return
            if isinstance(event, GenerationFailed):
                raise event
            self._open -= event.finish_reason is not None
            yield event


class Engine:
    """Continuous batching of one policy on one machine, in a thread of its own.

    Args:
        policy (`SteerablePolicy`): served; nobody else may change its adapters meanwhile.
        max_batch_size (`int`, *optional*, defaults to 16): rows decoded together.
        max_waiting (`int`, *optional*, defaults to 128): answers that may wait; beyond it `QueueFull`.
        max_total_tokens (`int`, *optional*, defaults to 65536): positions of the cache. A row is admitted when the batch fits even if every row
            grows to its maximum: rows x longest (prompt + max_tokens).
        max_prefill_tokens (`int`, *optional*, defaults to 4096): prompt tokens, padding included, processed between two steps (a longer prompt goes alone).

    Raises:
        InputError: the policy's model cannot be batched exactly.

    Example:
        ```python
        with Engine(policy) as engine:
            request = GenerationRequest(prompt_ids, policy.weights("helpful=0.7,brief=0.3", 1)[0], seed=0)
            [[answer]] = engine.generate([request])
        ```
    """

    def __init__(
        self,
        policy: SteerablePolicy,
        *,
        max_batch_size: int = 16,
        max_waiting: int = 128,
        max_total_tokens: int = 65_536,
        max_prefill_tokens: int = 4_096,
    ) -> None:
        limits = {
            "max_batch_size": max_batch_size,
            "max_waiting": max_waiting,
            "max_total_tokens": max_total_tokens,
            "max_prefill_tokens": max_prefill_tokens,
        }
        for name, value in limits.items():
            if value < 1:
                raise FieldError(name, f"must be at least 1, found {value}")
        self.policy = policy
        self.max_batch_size = max_batch_size
        self.max_waiting = max_waiting
        self.max_total_tokens = max_total_tokens
        self.max_prefill_tokens = max_prefill_tokens
        base: Any = policy.model.get_base_model()
        config = base.config.get_text_config(decoder=True)
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self._vocabulary = policy.model.get_input_embeddings().num_embeddings
        self._ends = frozenset(policy.eos_token_ids)
        self._batch = RunningBatch(policy)
        self._waiting: deque[Row] = deque()
        self._joining: list[Row] = []
        self._changed = threading.Condition()
        self._draining = False
        self._aborting = False
        self._idle = True
        self._steps = 0
        self._tokens = 0
        self._thread = threading.Thread(target=self._run, name="moalign-engine", daemon=True)
        self._thread.start()

    # ---- asking

    def check(self, request: GenerationRequest) -> None:
        """Refuse what this engine can never do.

        Raises:
            FieldError: the prompt has no valid tokens, or prompt and answer exceed the model's context or the cache.
        """
        wrong = next((t for t in request.prompt_ids if not 0 <= t < self._vocabulary), None)
        if wrong is not None:
            raise FieldError(
                "prompt", f"token id {wrong} is not in the vocabulary, allowed: 0 to {self._vocabulary - 1}"
            )
        k = len(self.policy.objectives)
        if request.weights.shape[0] != k:
            raise FieldError("preference", f"{request.weights.shape[0]} weights for {k} objectives")
        length = f"a prompt of {len(request.prompt_ids)} tokens + max_tokens {request.max_tokens} = {request.max_length} tokens"
        if self.context_length is not None and request.max_length > self.context_length:
            raise FieldError(
                "max_tokens", f"{length}, but the model's context is {self.context_length} (max_position_embeddings)"
            )
        if request.max_length > self.max_total_tokens:
            raise FieldError(
                "max_tokens", f"{length}, but the server's cache holds {self.max_total_tokens} (max_total_tokens)"
            )

    def submit(self, requests: Sequence[GenerationRequest], deliver: Callable[[Event], None]) -> Ticket:
        """Queue requests, all or none.

        Args:
            requests (`Sequence[GenerationRequest]`): at least one.
            deliver (`Callable`): called in the engine's thread with each `Delta`, or once with a `GenerationFailed`; must not block.

        Raises:
            FieldError: a request can never be done, see `check`; or there are more answers than may ever wait.
            QueueFull: there is no room now.
            EngineStopped: the engine is shutting down or has died.
        """
        for request in requests:
            self.check(request)
        choices = sum(request.n for request in requests)
        if not choices:
            raise FieldError("prompt", "no request given")
        if choices > self.max_waiting:
            raise FieldError(
                "n", f"{choices} answers asked for at once (prompts x n), the server queues {self.max_waiting}"
            )
        ticket = Ticket(deliver, choices)
        tokenizer = self.policy.tokenizer
        rows = [
            Row(request, ticket, tokenizer, self._ends, position, choice)
            for position, request in enumerate(requests)
            for choice in range(request.n)
        ]
        with self._changed:
            if not self.ready:
                raise EngineStopped("the server is shutting down" if self._draining else "the engine has stopped")
            self._forget_cancelled()
            if len(self._waiting) + choices > self.max_waiting:
                raise QueueFull(f"{len(self._waiting)} answers wait already and {self.max_waiting} may (max_waiting)")
            self._waiting.extend(rows)
            self._idle = False
            self._changed.notify_all()
        return ticket

    def stream(self, *requests: GenerationRequest) -> DeltaStream:
        """Queue requests, all or none, from a coroutine: `async for delta in engine.stream(request)`. Raises as `submit` does, at once."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def deliver(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        return DeltaStream(self.submit(requests, deliver), events, sum(request.n for request in requests))

    def generate(self, requests: Sequence[GenerationRequest]) -> list[list[Completion]]:
        """Answer requests and wait: n completions for each. Raises as `submit` does, and `GenerationFailed`."""
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.submit(requests, events.put)
        gathered = Gathered(requests)
        missing = sum(request.n for request in requests)
        while missing:
            event = events.get()
            if isinstance(event, GenerationFailed):
                raise event
            gathered.add(event)
            missing -= event.finish_reason is not None
        return gathered.completions()

    # ---- state

    @property
    def ready(self) -> bool:
        """Takes work."""
        return self._thread.is_alive() and not self._draining

    def stats(self) -> EngineStats:
        """Numbers for health checks and metrics; without locking, so each may be a step old."""
        return EngineStats(len(self._batch.rows), len(self._waiting), self._batch.cells, self._steps, self._tokens)

    # ---- stopping

    def drain(self) -> None:
        """Take no more work and finish what was accepted. Returns at once; may be called in a signal handler's thread."""
        self._draining = True

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more work, give what was accepted this long to finish, fail the rest, and end the thread."""
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: self._idle or not self._thread.is_alive(), timeout=drain_seconds)
            self._aborting = True
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the thread

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    self._forget_cancelled()
                    self._idle = not self._waiting and not self._batch.rows
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._waiting or self._batch.rows or self._aborting)
                    if self._aborting:
                        break
                    self._batch.leave()
                    self._joining = self._admit()
                if self._joining:
                    self._attempt(lambda: self._batch.join(self._joining), self._joining)
                    self._joining = []
                running = list(self._batch.rows)
                if running:
                    self._attempt(self._batch.step, running)
                    self._steps += 1
        finally:
            # Also when the thread dies of something unforeseen: nobody may wait for ever.
            with self._changed:
                for row in [*self._joining, *self._batch.rows, *self._waiting]:
                    row.fail("the server stopped before the answer was finished")
                self._waiting.clear()
                self._batch.clear()
                self._idle = True
                self._changed.notify_all()

    def _admit(self) -> list[Row]:
        """The rows that join now: in order of arrival, as many as fit; the first that does not fit holds back the others, so none starves."""
        joining: list[Row] = []
        running = self._batch.rows
        longest = max((row.request.max_length for row in running), default=0)
        prompt = 0
        while self._waiting:
            request = self._waiting[0].request
            count = len(running) + len(joining) + 1
            longest, prompt = max(longest, request.max_length), max(prompt, len(request.prompt_ids))
            if count > self.max_batch_size or count * longest > self.max_total_tokens:
                break
            if joining and (len(joining) + 1) * prompt > self.max_prefill_tokens:
                break
            joining.append(self._waiting.popleft())
        return joining

    def _forget_cancelled(self) -> None:
        if any(row.over for row in self._waiting):
            self._waiting = deque(row for row in self._waiting if not row.over)

    def _attempt(self, work: Callable[[], None], rows: Sequence[Row]) -> None:
        """Do one step for these rows; if it raises they fail, and the engine goes on."""
        before = sum(row.generated for row in rows)
        try:
            work()
        except Exception:
            logger.exception("a step of %d rows failed", len(rows))
            for row in rows:
                row.fail("the server failed while generating; its log has the reason")
            self._batch.leave()
        self._tokens += sum(row.generated for row in rows) - before
