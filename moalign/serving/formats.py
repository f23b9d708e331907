"""The JSON of answers: whole or in chunks, as completions or as chat."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from moalign.serving.request import Completion, Delta, GenerationRequest, TokenLogprob, TokenLogprobs

JSON = dict[str, Any]

# OpenAI's number for "next to impossible": JSON has no infinity.
LEAST_LOGPROB = -9999.0


class AnswerFormat:
    """How the answers to one HTTP request read; every answer carries the preference that it was made with.

    Args:
        kind (`str`): `"completion"` or `"chat"`.
        model (`str`): the served name.
        requests (`Sequence[GenerationRequest]`): one per prompt; all have the same n.
        preferences (`Sequence[dict]`): the effective preference of each prompt, every objective named.
        source (`str`): who chose them: `"request"`, `"user"`, `"gate"` or `"default"`. A gate may choose another one for each prompt: an answer to several then has a list of them.
        include_usage (`bool`, *optional*, defaults to `False`): whether a stream ends with the token counts.
    """

    def __init__(
        self,
        kind: Literal["completion", "chat"],
        model: str,
        requests: Sequence[GenerationRequest],
        preferences: Sequence[JSON],
        source: str = "request",
        include_usage: bool = False,
    ) -> None:
        self.preference: JSON | list[JSON] = (
            list(preferences) if source == "gate" and len(preferences) > 1 else preferences[0]
        )
        self._preferences = preferences
        self._source = source
        self._chat = kind == "chat"
        self._n = requests[0].n
        self._prompt_tokens = sum(len(request.prompt_ids) for request in requests)
        self._choices = sum(request.n for request in requests)
        self._logprobs = requests[0].logprobs is not None
        self._completion_tokens = 0
        self._include_usage = include_usage
        self._head: JSON = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, completions: Sequence[Sequence[Completion]]) -> JSON:
        """The body of an answer that is not streamed."""
        flat = [completion for request in completions for completion in request]
        choices = []
        for index, completion in enumerate(flat):
            content: JSON = {"text": completion.text}
            if self._chat:
                content = {"message": {"role": "assistant", "content": completion.text, "refusal": None}}
            told = self._told(completion.logprobs)
            choices.append({"index": index, **content, "logprobs": told, "finish_reason": completion.finish_reason})
        self._completion_tokens = sum(len(completion.token_ids) for completion in flat)
        kind = "chat.completion" if self._chat else "text_completion"
        return {
            **self._head,
            "object": kind,
            "choices": choices,
            "usage": self._usage(),
            **self._effective(self.preference),
        }

    def first_chunks(self) -> Iterator[JSON]:
        """What stands before the first piece of text."""
        if self._chat:
            for index in range(self._choices):
                yield self._chunk(index, {"delta": {"role": "assistant", "content": ""}})

    def chunks(self, delta: Delta) -> Iterator[JSON]:
        """A piece of an answer; none if there is nothing to tell yet."""
        index = delta.request * self._n + delta.choice
        self._completion_tokens += len(delta.token_ids)
        # Tokens whose text is held back, or that have none, still have probabilities.
        told = self._told(delta.logprobs) if delta.logprobs else None
        if not self._chat:
            if delta.text or told or delta.finish_reason:
                yield self._chunk(index, {"text": delta.text}, delta.finish_reason, told)
            return
        if delta.text or told:
            yield self._chunk(index, {"delta": {"content": delta.text}}, logprobs=told)
        if delta.finish_reason:
            yield self._chunk(index, {"delta": {}}, delta.finish_reason)

    def last_chunks(self) -> Iterator[JSON]:
        """What stands after the last piece of text."""
        if self._include_usage:
            yield {**self._stream_head(), "choices": [], "usage": self._usage(), **self._effective(self.preference)}

    def _told(self, tokens: Sequence[TokenLogprobs]) -> JSON | None:
        """Log-probabilities in the shape of chat or of completions; `None` where nobody asked."""
        if not self._logprobs:
            return None
        if self._chat:
            content = [{**_chat_token(t), "top_logprobs": [_chat_token(other) for other in t.top]} for t in tokens]
            return {"content": content, "refusal": None}
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [_logprob(token) for token in tokens],
            "top_logprobs": [_by_text(token) for token in tokens],
            "text_offset": [token.offset for token in tokens],
        }

    def _chunk(self, index: int, content: JSON, finish_reason: str | None = None, logprobs: JSON | None = None) -> JSON:
        choice = {"index": index, **content, "logprobs": logprobs, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        effective = self._effective(self._preferences[index // self._n]) if finish_reason else {}
        return {**self._stream_head(), "choices": [choice], **usage, **effective}

    def _effective(self, preference: JSON | list[JSON]) -> JSON:
        return {"preference": preference, "preference_source": self._source}

    def _stream_head(self) -> JSON:
        return {**self._head, "object": "chat.completion.chunk" if self._chat else "text_completion"}

    def _usage(self) -> JSON:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
        }


def _logprob(token: TokenLogprob) -> float:
    return max(token.logprob, LEAST_LOGPROB)


def _chat_token(token: TokenLogprob) -> JSON:
    # A part of a character has no text of its own, and which bytes it is the text does not tell.
    known = "\ufffd" not in token.text
    return {
        "token": token.text,
        "logprob": _logprob(token),
        "bytes": list(token.text.encode("utf-8", "replace")) if known else None,
    }


def _by_text(token: TokenLogprobs) -> JSON | None:
    """The likely tokens and the chosen one, by their text; of two that read alike, the likelier. `None` where no alternatives were asked for."""
    found: JSON = {}
    for other in (*token.top, token) if token.top else ():
        found[other.text] = max(_logprob(other), found.get(other.text, LEAST_LOGPROB))
    return found or None
