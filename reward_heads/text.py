"""Prompts and completions in the two forms that TRL knows: a string, or a list of chat messages."""

import json
from collections.abc import Hashable, Sequence
from typing import Any

from frontier.errors import InputError

Text = str | list[dict[str, str]]
"""A prompt or a completion: standard (`str`) or conversational (`[{"role": ..., "content": ...}, ...]`)."""


def is_conversational(text: Text) -> bool:
    """Whether `text` is a list of messages rather than a string."""
    return not isinstance(text, str)


def message_content(message: dict[str, Any]) -> str:
    """The words of one chat message; content given as a list of parts is reduced to its text parts.

    Raises:
        InputError: the message is not a dictionary, or its content is neither text nor parts.
    """
    if not isinstance(message, dict):
        raise InputError(f"a chat message must be a dictionary with 'role' and 'content', found {message!r}")
    content = message.get("content")
    if content is None:  # a message that only calls a tool says nothing
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(part.get("text", "") for part in content if part.get("type") == "text")
    raise InputError(f"the content of a chat message must be text or a list of parts, found {content!r}")


def plain_text(text: Text) -> str:
    """What was said: the string itself, or the contents of the messages, one a line.

    Example:
        >>> plain_text([{"role": "assistant", "content": "Hello."}])
        'Hello.'
    """
    if isinstance(text, str):
        return text
    return "\n".join(message_content(message) for message in as_messages(text, role="assistant"))


def as_messages(text: Text, role: str) -> list[dict[str, str]]:
    """Messages as they are; a string becomes one message of `role`.

    Raises:
        InputError: `text` is neither a string nor a list of dictionaries.
    """
    if isinstance(text, str):
        return [{"role": role, "content": text}]
    if isinstance(text, list) and all(isinstance(message, dict) for message in text):
        return text
    raise InputError(f"a text must be a string or a list of chat messages, found {text!r}")


def text_key(text: Text) -> Hashable:
    """A key that two texts share only if they are the same, whichever form they have."""
    if isinstance(text, str):
        return text
    return tuple(json.dumps(message, sort_keys=True, default=str) for message in as_messages(text, role="assistant"))


def check_same_length(prompts: Sequence[Text], completions: Sequence[Text]) -> None:
    """Refuse a batch whose prompts and completions do not pair up.

    Raises:
        InputError: the lengths differ, or one of them is a bare string instead of a list of texts.
    """
    for what, texts in (("prompts", prompts), ("completions", completions)):
        if isinstance(texts, str):
            raise InputError(f"{what} must be a list of texts, found one string: write [text]")
    if len(prompts) != len(completions):
        raise InputError(f"one prompt per completion: found {len(prompts)} prompts and {len(completions)} completions")
