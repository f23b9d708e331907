"""What is asked of the engine and what comes back: requests, pieces of answers, and the ways in which it can fail."""

import logging
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from frontier.errors import InputError

logger = logging.getLogger(__name__)

FinishReason = Literal["stop", "length"]
MAX_SEED = 2**64 - 1
# OpenAI's bound of top_logprobs.
MAX_LOGPROBS = 20
# Beyond any vocabulary, and a number for every device.
MAX_TOP_K = 2**31 - 1


class FieldError(InputError):
    """A field of a request is wrong.

    Args:
        field (`str`): its name in the API.
        message (`str`): what was found and what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class QueueFull(RuntimeError):
    """As many requests wait as may wait; try again later."""


class EngineStopped(RuntimeError):
    """The engine takes no more work: it is shutting down, or its thread has died."""


class GenerationFailed(RuntimeError):
    """A request that had been accepted could not be finished."""


class GenerationTimeout(GenerationFailed):
    """A request was not finished within its own `timeout`, waiting included; what it had of an answer is lost (504 for HTTP)."""


@dataclass(frozen=True, eq=False)
class GenerationRequest:
    """One prompt, one preference, and how to sample.

    Args:
        prompt_ids (`Sequence[int]`): token ids, at least one.
        weights (`Tensor`): `[K]` in the policy's objective order; zeros are the reference policy.
        max_tokens (`int`, *optional*, defaults to 16): at most this many new tokens, the ending token included.
        temperature (`float`, *optional*, defaults to 1.0): 0 is greedy.
        top_p (`float`, *optional*, defaults to 1.0): keep the smallest set of tokens whose probability reaches this.
        top_k (`int`, *optional*): keep this many tokens; at most 2^31 - 1.
        seed (`int`, *optional*): the answer to (prompt, weights, seed) is always the same; drawn at random where it is missing.
        stop (`tuple[str, ...]`, *optional*): the answer ends before the first of these texts.
        n (`int`, *optional*, defaults to 1): independent answers. Answer i is the same whatever n is.
        logprobs (`int`, *optional*): tell the log-probability of every token, and of this many most likely alternatives (0: of none); at most 20.
        timeout (`float`, *optional*): seconds from submission, waiting included, after which the request fails with `GenerationTimeout`.

    Raises:
        FieldError: a value is out of its range.
    """

    prompt_ids: Sequence[int]
    weights: Tensor
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not len(self.prompt_ids):
            raise FieldError("prompt", "has no tokens, at least one is needed")
        if self.weights.dim() != 1 or not torch.isfinite(self.weights).all():
            raise FieldError("preference", f"weights must be [K] finite numbers, found {self.weights.tolist()}")
        if self.max_tokens < 1:
            raise FieldError("max_tokens", f"must be at least 1, found {self.max_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise FieldError("temperature", f"must be a number of at least 0 (0 is greedy), found {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise FieldError("top_p", f"must be above 0 and at most 1, found {self.top_p}")
        if self.top_k is not None and not 1 <= self.top_k <= MAX_TOP_K:
            raise FieldError("top_k", f"must be from 1 to {MAX_TOP_K}, found {self.top_k}")
        if self.n < 1:
            raise FieldError("n", f"must be at least 1, found {self.n}")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise FieldError("logprobs", f"must be from 0 to {MAX_LOGPROBS}, found {self.logprobs}")
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise FieldError("timeout", f"must be a number of seconds above 0, found {self.timeout}")
        if any(not text for text in self.stop):
            raise FieldError("stop", "must not hold an empty text")
        if self.seed is None:
            object.__setattr__(self, "seed", secrets.randbits(63))
        elif not -(2**63) <= self.seed <= MAX_SEED:
            raise FieldError("seed", f"must fit 64 bits, found {self.seed}")

    @property
    def max_length(self) -> int:
        """Tokens that one answer may hold in the cache: prompt and completion."""
        return len(self.prompt_ids) + self.max_tokens


@dataclass(frozen=True)
class TokenLogprob:
    """A token that was or could have been chosen.

    Args:
        token_id (`int`): its id.
        text (`str`): decoded alone; special tokens are spelled out, a part of a character is U+FFFD.
        logprob (`float`): natural log of its probability under the policy at the request's weights, before temperature, top_p and top_k.
    """

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class TokenLogprobs(TokenLogprob):
    """The chosen token and what else was likely in its place.

    Args:
        top (`tuple[TokenLogprob, ...]`): the most likely tokens, best first, as many as the request's `logprobs`; the chosen one is among them only if it is that likely.
        offset (`int`): where its text begins in the answer, in characters; a part of a character begins where the character does.
    """

    top: tuple[TokenLogprob, ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class Delta:
    """The next piece of one answer.

    Args:
        request (`int`): position in the list of requests that were submitted together.
        choice (`int`): which of the request's n answers.
        text (`str`): new text; may be empty.
        token_ids (`tuple[int, ...]`): the new tokens.
        finish_reason (`str`, *optional*): set in the last piece of the answer: `"stop"` (ending token or stop text) or `"length"`.
        logprobs (`tuple[TokenLogprobs, ...]`): one for each of `token_ids` (an ending token included) if the request asked for them, otherwise empty.
    """

    request: int
    choice: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True)
class Completion:
    """One finished answer."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] = ()


class Gathered:
    """Collects the pieces of requests that were submitted together into whole answers.

    Args:
        requests (`Sequence[GenerationRequest]`): as submitted.
    """

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self._text: list[list[str]] = [[""] * r.n for r in requests]
        self._tokens: list[list[tuple[int, ...]]] = [[()] * r.n for r in requests]
        self._reason: list[list[FinishReason]] = [["length"] * r.n for r in requests]
        self._logprobs: list[list[tuple[TokenLogprobs, ...]]] = [[()] * r.n for r in requests]

    def add(self, delta: Delta) -> None:
        """One piece."""
        request, choice = delta.request, delta.choice
        self._text[request][choice] += delta.text
        self._tokens[request][choice] += delta.token_ids
        self._logprobs[request][choice] += delta.logprobs
        if delta.finish_reason is not None:
            self._reason[request][choice] = delta.finish_reason

    def completions(self) -> list[list[Completion]]:
        """All n answers for each request."""
        return [
            [Completion(*parts) for parts in zip(*request, strict=True)]
            for request in zip(self._text, self._tokens, self._reason, self._logprobs, strict=True)
        ]


Event = Delta | GenerationFailed


class Ticket:
    """The thread-safe handle of requests that were submitted together: who listens, and whether anybody still does.

    Args:
        deliver (`Callable`): called in the engine's thread with every `Delta`, or once with the failure that ends them all.
        choices (`int`): answers that are still to come.
    """

    def __init__(self, deliver: Callable[[Event], None], choices: int) -> None:
        self._deliver = deliver
        self._open = choices
        self._closed = False

    @property
    def done(self) -> bool:
        """Finished, failed or cancelled: nothing more will be delivered."""
        return self._closed

    def cancel(self) -> None:
        """Nobody listens any more: the rows leave the batch before the next step."""
        self._closed = True

    def deliver(self, delta: Delta) -> None:
        """Hand over a piece of an answer; for the engine."""
        if not self._closed:
            self._open -= delta.finish_reason is not None
            self._closed = self._open == 0
            self._send(delta)

    def fail(self, error: GenerationFailed) -> None:
        """End all answers with an error; for the engine."""
        if not self._closed:
            self._closed = True
            self._send(error)

    def _send(self, event: Event) -> None:
        try:
            self._deliver(event)
        except Exception:
            # For example an event loop that was closed. The other requests of the batch must not suffer.
            logger.warning("a listener failed; its requests are cancelled", exc_info=True)
            self._closed = True
