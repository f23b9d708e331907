"""Keep one steerable policy busy for many clients: requests join and leave the batch between steps, each with its own weights."""

import asyncio
import queue
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from moalign.policy import SteerablePolicy
from moalign.serving.batch import RunningBatch, probe
from moalign.serving.cache import position_bytes
from moalign.serving.delta_stream import DeltaStream, Mailboxes
from moalign.serving.memory import available_bytes, positions_that_fit, warn_if_too_large
from moalign.serving.request import (
    Completion,
    Event,
    FieldError,
    Gathered,
    GenerationFailed,
    GenerationRequest,
    Ticket,
)
from moalign.serving.row import Row
from moalign.serving.worker import Worker

__all__ = ["DeltaStream", "Engine", "EngineStats"]


@dataclass(frozen=True)
class EngineStats:
    """What the engine is doing.

    Args:
        running (`int`): rows in the batch.
        waiting (`int`): rows in the queue.
        cache_tokens (`int`): positions that the cache holds, padding included.
        steps (`int`): decode steps since the start.
        tokens (`int`): tokens generated since the start.
        cache_bytes (`int`): memory of the cache's buffers.
        prefix_tokens (`int`): positions remembered of earlier prompts.
        reused_tokens (`int`): prompt tokens that were not computed because they were remembered, since the batch was made.
        restarts (`int`): of the engine's thread.
        accepted (`int`): answers that were taken into the queue since the start; what was accepted is finished, or fails with its reason.
    """

    running: int
    waiting: int
    cache_tokens: int
    steps: int
    tokens: int
    cache_bytes: int = 0
    prefix_tokens: int = 0
    reused_tokens: int = 0
    restarts: int = 0
    accepted: int = 0


class Engine:
    """Continuous batching of one policy on one machine, in a thread of its own.

    Between two steps in which every running row gets a token, at most one chunk of prompts is processed, so that a long prompt does not stall
    the others. An answer to (prompt, weights, seed) does not depend on what else is in the batch, on chunks, nor on what is remembered of earlier
    prompts: greedy tokens are the same (in float32; in half precision up to ties that rounding decides), samples are the same under their seed.

    Args:
        policy (`SteerablePolicy`): served; nobody else may change its adapters meanwhile.
        max_batch_size (`int`, *optional*, defaults to 16): rows decoded together.
        max_waiting (`int`, *optional*, defaults to 128): answers that may wait; beyond it `QueueFull`.
        max_total_tokens (`int`, *optional*): positions of the cache; by default as many as fit half of the free memory, and no more than can be
            used. A row is admitted when the batch fits even if every row grows to its maximum: rows x longest (prompt + max_tokens). The memory is
            taken only when it is needed.
        max_prefill_tokens (`int`, *optional*, defaults to 1024): prompt tokens, padding included, processed between two steps. Less makes the
            others wait less for a long prompt, more takes it in sooner.
        prefix_tokens (`int`, *optional*): positions kept of earlier prompts, for prompts with the same beginning *and* the same weights, in blocks
            of 16; the least recently used go first. By default a quarter of the cache; 0 turns it off.
        max_restarts (`int`, *optional*, defaults to 3): how often the engine starts its thread again within `restart_window` seconds; then it stays
            `stopped`. What was in the batch fails with `GenerationFailed`, what waited is served; until then `ready` is false.
        restart_window (`float`, *optional*, defaults to 60): seconds.
        restart_delay (`float`, *optional*, defaults to 0.5): seconds from a death to the new thread.
        compile_decode (`bool`, *optional*, defaults to `False`): decode with `torch.compile` and CUDA graphs; the first steps of each size are then
            slow. For CUDA GPUs only, and so far not tested on one: if it fails, a warning is logged and decoding goes on without.

    Raises:
        FieldError: a limit is out of its range.
        InputError: the policy's model cannot be batched exactly, or there is no memory for its cache.

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
        max_total_tokens: int | None = None,
        max_prefill_tokens: int = 1_024,
        prefix_tokens: int | None = None,
        max_restarts: int = 3,
        restart_window: float = 60.0,
        restart_delay: float = 0.5,
        compile_decode: bool = False,
    ) -> None:
        limits = {
            "max_batch_size": max_batch_size,
            "max_waiting": max_waiting,
            "max_total_tokens": 1 if max_total_tokens is None else max_total_tokens,
            "max_prefill_tokens": max_prefill_tokens,
        }
        for name, value in limits.items():
            if value < 1:
                raise FieldError(name, f"must be at least 1, found {value}")
        at_least_0 = {"prefix_tokens": prefix_tokens or 0, "max_restarts": max_restarts, "restart_delay": restart_delay}
        for name, number in at_least_0.items():
            if number < 0:
                raise FieldError(name, f"must be at least 0, found {number}")
        self.policy = policy
        self.max_batch_size = max_batch_size
        self.max_waiting = max_waiting
        self.max_prefill_tokens = max_prefill_tokens
        base: Any = policy.base
        config = base.config.get_text_config(decoder=True)
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self._vocabulary = policy.model.get_input_embeddings().num_embeddings
        self._ends = frozenset(policy.eos_token_ids)
        self._mailboxes = Mailboxes()
        self.position_bytes = position_bytes(probe(policy))
        self.max_total_tokens, self.prefix_tokens = self._bounds(max_total_tokens, prefix_tokens)

        def make_batch() -> RunningBatch:
            return RunningBatch(
                policy,
                max_rows=max_batch_size,
                max_cells=self.max_total_tokens,
                max_prefill_tokens=max_prefill_tokens,
                prefix_tokens=self.prefix_tokens,
                compile_decode=compile_decode,
            )

        self._frozen = ExitStack()
        self._worker = Worker(
            make_batch,
            max_batch_size=max_batch_size,
            max_waiting=max_waiting,
            max_total_tokens=self.max_total_tokens,
            max_restarts=max_restarts,
            restart_window=restart_window,
            restart_delay=restart_delay,
        )
        # Each change of the batch would otherwise stack the adapters of every layer again.
        self._frozen.enter_context(policy.mixture.frozen())

    def _bounds(self, total: int | None, prefixes: int | None) -> tuple[int, int]:
        """Positions of the cache and of what is remembered of prompts, from the memory where they are not given."""
        device = self.policy.device
        if total is None:
            usable = None if self.context_length is None else self.max_batch_size * self.context_length
            share = 1.0 if prefixes == 0 else 0.8
            total = positions_that_fit(int(available_bytes(device) * share), self.position_bytes, usable)
        if prefixes is None:
            prefixes = total // 4
        warn_if_too_large(total + prefixes, self.position_bytes, device)
        return total, prefixes

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
        self._worker.submit(rows)
        return ticket

    def stream(self, *requests: GenerationRequest) -> DeltaStream:
        """Queue requests, all or none, from a coroutine: `async for delta in engine.stream(request)`. Raises as `submit` does, at once."""
        mailbox = self._mailboxes.of(asyncio.get_running_loop())
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        ticket = self.submit(requests, lambda event: mailbox.post(events, event))
        return DeltaStream(ticket, events, sum(request.n for request in requests))

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
        """Takes work; false while it drains, and while it recovers from a death of its thread."""
        return self._worker.ready

    @property
    def stopped(self) -> bool:
        """Its thread has died too often: only a new process helps."""
        return self._worker.stopped

    def stats(self) -> EngineStats:
        """Numbers for health checks and metrics; without locking, so each may be a step old."""
        worker, batch = self._worker, self._worker.batch
        return EngineStats(
            len(batch.rows),
            len(worker.waiting),
            batch.cells,
            worker.steps,
            worker.tokens,
            batch.cache.nbytes,
            batch.prefixes.tokens,
            batch.prefixes.reused,
            worker.restarts,
            worker.accepted,
        )

    @property
    def _batch(self) -> RunningBatch:
        return self._worker.batch

    # ---- stopping

    def kill_worker(self) -> None:
        """Let the engine's thread die before its next step: for tests of what clients and health checks see then."""
        self._worker.kill()

    def drain(self) -> None:
        """Take no more work and finish what was accepted. Returns at once; may be called in a signal handler's thread."""
        self._worker.draining = True

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more work, give what was accepted this long to finish, fail the rest, and end the thread."""
        self._worker.close(drain_seconds)
        self._frozen.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
