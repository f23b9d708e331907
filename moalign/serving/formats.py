"""The JSON of answers: whole or in chunks, as completions or as chat."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from moalign.serving.request import Completion, Delta, GenerationRequest

JSON = dict[str, Any]


class AnswerFormat:
    """How the answers to one HTTP request read; every answer carries the preference that it was made with.

    Args:
        kind (`str`): `"completion"` or `"chat"`.
        model (`str`): the served name.
        requests (`Sequence[GenerationRequest]`): one per prompt; all have the same n.
        preferences (`Sequence[dict]`): the effective preference of each prompt, every objective named.
        source (`str`): who chose them: `"request"`, `"gate"` or `"default"`. A gate may choose another one for each prompt: an answer to several then has a list of them.
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
            choices.append({"index": index, **content, "logprobs": None, "finish_reason": completion.finish_reason})
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
        if not self._chat:
            if delta.text or delta.finish_reason:
                yield self._chunk(index, {"text": delta.text}, delta.finish_reason)
            return
        if delta.text:
            yield self._chunk(index, {"delta": {"content": delta.text}})
        if delta.finish_reason:
            yield self._chunk(index, {"delta": {}}, delta.finish_reason)

    def last_chunks(self) -> Iterator[JSON]:
        """What stands after the last piece of text."""
        if self._include_usage:
            yield {**self._stream_head(), "choices": [], "usage": self._usage(), **self._effective(self.preference)}

    def _chunk(self, index: int, content: JSON, finish_reason: str | None = None) -> JSON:
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}
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
