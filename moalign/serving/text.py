"""Turn a stream of tokens into a stream of text: whole characters only, nothing of a stop text, no work repeated per token."""

from collections.abc import Sequence
from typing import Any, Protocol

INCOMPLETE = "\ufffd"


class Decodes(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, token_ids: list[int], skip_special_tokens: bool = False) -> Any:
        """Token ids to text."""
        ...


class TextStream:
    """Text as tokens arrive; a character whose bytes are spread over several tokens waits until it is whole.

    Only the tokens since the last complete piece are decoded, together with that piece: tokenizers put spaces between tokens depending on what
    stands before. The pieces join to what decoding all tokens at once gives.

    Args:
        tokenizer: the policy's.
    """

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._shown = 0  # tokens whose text was given out
        self._given = 0  # characters
        # Characters of the text so far, those that are not given out yet included, but for an unfinished one: where the next token's text begins.
        self.length = 0

    def push(self, token: int, last: bool = False) -> str:
        """The text that this token completes; `last` gives out what is left, an unfinished character included."""
        self._tokens.append(token)
        return self._text(last)

    def flush(self) -> str:
        """What is left when no token follows."""
        return self._text(last=True)

    def _text(self, last: bool) -> str:
        before = self._decode(self._tokens[: self._shown])
        after = self._decode(self._tokens)
        whole = after if last else after.rstrip(INCOMPLETE)
        self.length = max(self.length, self._given + len(whole) - len(before))
        if len(after) <= len(before) or (after.endswith(INCOMPLETE) and not last):
            return ""
        # The piece just shown is the context of the next one; what lies before it is no longer needed.
        self._tokens = self._tokens[self._shown :]
        self._shown = len(self._tokens)
        self._given += len(after) - len(before)
        return after[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""
        return text


class StopTexts:
    """Finds the first stop text in a growing text and holds back what may be the beginning of one.

    Args:
        stops (`Sequence[str]`): none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that can be shown, and whether a stop text was met (shown is then what stands before it)."""
        if not self._stops:
            return text, False
        pending = self._held + text
        found = [at for at in (pending.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self._held = ""
            return pending[: min(found)], True
        keep = max(_overlap(pending, stop) for stop in self._stops)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep], False

    def flush(self) -> str:
        """What was held back, once it is known that no stop text follows."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    return next((k for k in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:k])), 0)
