"""Whether a completion has the form that was asked for: a pattern, JSON, tags, code, a list, a finished sentence."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from frontier.errors import InputError

_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+•]|\d+[.)])[ \t]+\S", re.MULTILINE)
_END = re.compile(r"[.!?…。！？؟][\"'”’»)\]*_]*$")
_QUESTION = re.compile(r"[?？؟][\"'”’»)\]*_]*(?:\s|$)|？")  # after ？ there is no space
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_TAG_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class FormatMatch:
    """1 if the completion matches a regular expression, else 0.

    Args:
        pattern (`str`): Python regular expression; `.` matches line ends too.
        whole (`bool`, *optional*, defaults to `True`): the whole completion (without outer white space) must match, not a part of it.

    Raises:
        InputError: `pattern` is not a regular expression.
    """

    pattern: str
    whole: bool = True
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_compiled", re.compile(self.pattern, re.DOTALL))
        except re.error as error:
            raise InputError(f"pattern {self.pattern!r} is not a regular expression: {error}") from error

    def __call__(self, prompt: str, completion: str) -> float:
        """1.0 or 0.0 for `completion`."""
        found = self._compiled.fullmatch(completion.strip()) if self.whole else self._compiled.search(completion)
        return float(found is not None)


@dataclass(frozen=True)
class ValidJSON:
    """1 if the completion is JSON (RFC 8259: no NaN, no comments), else 0; with `keys`, the share of them that the object has.

    Args:
        keys (`Collection[str]`, *optional*): keys that the outermost value, which must then be an object, should have.
        fenced (`bool`, *optional*, defaults to `True`): JSON as the only content of a Markdown code fence counts too.

    Raises:
        InputError: `keys` is one string.

    Example:
        >>> ValidJSON(["name", "age"])("", '{"name": "Ada"}')
        0.5
    """

    keys: Collection[str] = ()
    fenced: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.keys, str):
            raise InputError(f"keys must be a list of names, found one string: write ['{self.keys}']")

    def __call__(self, prompt: str, completion: str) -> float:
        """1.0, 0.0 or the share of keys for `completion`."""
        text = completion.strip()
        if self.fenced and (fence := re.fullmatch(r"```(?:json)?[ \t]*\n(.*?)\n?```", text, re.DOTALL)):
            text = fence[1]
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):  # thousands of open brackets are no JSON that anyone can use
            return 0.0
        if not self.keys:
            return 1.0
        return sum(key in value for key in self.keys) / len(self.keys) if isinstance(value, dict) else 0.0


@dataclass(frozen=True)
class Tags:
    """1 if each tag is opened and closed exactly once, one after the other in this order, else 0: `<think>…</think> <answer>…</answer>`.

    Args:
        names (`Sequence[str]`): the tags, such as `["think", "answer"]`.
        whole (`bool`, *optional*, defaults to `False`): nothing but white space may stand outside of them.

    Raises:
        InputError: no name, or one that cannot be a tag's.
    """

    names: Sequence[str]
    whole: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.names, str) or not self.names:
            raise InputError(f"names must be a list of at least one tag, found {self.names!r}")
        for name in self.names:
            if not _TAG_NAME.fullmatch(name):
                raise InputError(
                    f"the name of a tag has letters, digits, _ . - and begins with a letter, found {name!r}"
                )

    def __call__(self, prompt: str, completion: str) -> float:
        """1.0 or 0.0 for `completion`."""
        choice = "|".join(map(re.escape, self.names))
        found = re.findall(rf"<(/?)({choice})>", completion)
        if found != [(slash, name) for name in self.names for slash in ("", "/")]:
            return 0.0
        if not self.whole:
            return 1.0
        outside = re.split(
            "|".join(rf"<{re.escape(name)}>.*?</{re.escape(name)}>" for name in self.names), completion, flags=re.DOTALL
        )
        return float(not any(part.strip() for part in outside))


@dataclass(frozen=True)
class CodeFence:
    """1 if the completion has a Markdown code block and leaves none open, else 0.

    Args:
        language (`str`, *optional*): at least one block must name this language, in any case.
    """

    language: str | None = None

    def __call__(self, prompt: str, completion: str) -> float:
        """1.0 or 0.0 for `completion`."""
        opened = ""
        languages = []
        for line in completion.splitlines():
            fence = _FENCE.match(line)
            if fence is None:
                continue
            marks, info = fence[1], fence[2].strip()
            if not opened:
                opened, language = marks, (info.split() or [""])[0].lower()
            elif marks.startswith(opened) and not info:
                opened = ""
                languages.append(language)
        wanted = bool(languages) if self.language is None else self.language.lower() in languages
        return float(wanted and not opened)


def list_items(prompt: str, completion: str) -> float:
    """The number of list items: lines that begin with `-`, `*`, `+`, `•` or a number (`1.`, `2)`). `Band(list_items, 3, 5)` asks for three to five."""
    return float(len(_LIST_ITEM.findall(completion)))


def ends_with_punctuation(prompt: str, completion: str) -> float:
    """1 if the last sentence is finished (with . ! ? … or their kin, and closing quotes or brackets), else 0: cut-off completions score 0."""
    return float(_END.search(completion.rstrip()) is not None)


def asks_question(prompt: str, completion: str) -> float:
    """1 if a sentence of the completion ends with a question mark, else 0; `minus(asks_question)` for answers without counter-questions."""
    return float(_QUESTION.search(completion) is not None)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
