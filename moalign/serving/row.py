"""One answer in the making: its sampler, its text, when it ends, and who waits for it."""

import time
from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from moalign.serving.prefix import PrefixKeys
from moalign.serving.request import (
    Delta,
    FinishReason,
    GenerationFailed,
    GenerationRequest,
    GenerationTimeout,
    Ticket,
    TokenLogprobs,
)
from moalign.serving.sampling import Sampler, choice_generator
from moalign.serving.text import Decodes, StopTexts, TextStream


class Row:
    """One of the n answers of a request, while it waits and while it is a row of the batch.

    Args:
        request (`GenerationRequest`): what is asked.
        ticket (`Ticket`): who listens.
        tokenizer: the policy's.
        ends (`Collection[int]`): token ids that end an answer.
        position (`int`, *optional*): of the request among those submitted together.
        choice (`int`, *optional*): which of the n answers.
    """

    def __init__(
        self,
        request: GenerationRequest,
        ticket: Ticket,
        tokenizer: Decodes,
        ends: Collection[int],
        position: int = 0,
        choice: int = 0,
    ) -> None:
        assert request.seed is not None  # GenerationRequest draws one
        self.request = request
        self.ticket = ticket
        self.sampler = Sampler(
            request.temperature, request.top_p, request.top_k, choice_generator(request.seed, choice)
        )
        self.last_token = -1
        self.generated = 0
        self.finished = False
        self.failed = False
        self.deadline = float("inf") if request.timeout is None else time.monotonic() + request.timeout
        # What the batch keeps of it: its place in the order of arrival, its positions in the cache, the adapters' weights, and what its prompt is remembered by.
        self.arrival = 0
        self.cached = 0
        self.mixing: Tensor = request.weights
        self.prefix_keys: PrefixKeys | None = None
        self._ends = ends
        self._position = position
        self._choice = choice
        self._text = TextStream(tokenizer)
        self._stops = StopTexts(request.stop)

    @property
    def over(self) -> bool:
        """Finished, failed or cancelled: the row can leave the batch."""
        return self.finished or self.ticket.done

    @property
    def missing(self) -> int:
        """Tokens of the prompt that are not in the cache."""
        return len(self.request.prompt_ids) - self.cached

    def accept(self, token: int, logprobs: TokenLogprobs | None = None) -> None:
        """Take the next token: show its text, and finish at an ending token, a stop text or the last allowed token."""
        self.last_token = token
        self.generated += 1
        reason: FinishReason | None = None
        told = () if logprobs is None else (replace(logprobs, offset=self._text.length),)
        if token in self._ends:
            text, stopped = self._stops.push(self._text.flush())
            reason = "stop"
        else:
            full = self.generated == self.request.max_tokens
            text, stopped = self._stops.push(self._text.push(token, last=full))
            reason = "stop" if stopped else "length" if full else None
        if reason is not None:
            self.finished = True
            text += "" if stopped else self._stops.flush()
        self.ticket.deliver(Delta(self._position, self._choice, text, (token,), reason, told))

    def fail(self, message: str) -> None:
        """Give up; the whole submission fails with it."""
        self.finished = self.failed = True
        self.ticket.fail(GenerationFailed(message))

    def expire(self) -> None:
        """Fail because the request's own time is over; the whole submission fails with it."""
        self.finished = self.failed = True
        done = f"{self.generated} of at most {self.request.max_tokens} tokens were generated"
        self.ticket.fail(GenerationTimeout(f"not finished within timeout = {self.request.timeout} seconds: {done}"))
