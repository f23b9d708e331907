"""Whether a completion gives the known answer: the same text, or the same number."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from frontier.errors import InputError
from reward_heads.text import Text, plain_text

Answers = Mapping[str, str | float | Sequence[str | float]]
"""Prompt (as plain text) to its answer, or to several of which any will do."""

_OUTER = " \t\r\n.,;:!?…\"'“”‘’`*_()[]{}"
# A sign counts where no letter, digit or bracket stands before it: "3-4" holds 3 and 4. Digits inside a name ("H2O") or after a second point are no number.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])[-+−])?"
    r"(?:(?<!\w)(?<!\d\.)(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"(?:[eE][-+]?\d+)?"
)


def normalised(text: str) -> str:
    """A text as exact matches compare it: compatibility characters made plain (NFKC), no case, single spaces, no outer punctuation.

    Example:
        >>> normalised("  The  ANSWER.")
        'the answer'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_OUTER)


def numbers(text: str) -> list[float]:
    """The numbers in a text: signs, thousands' commas, decimals and exponents are understood; units and percent signs are left out.

    Example:
        >>> numbers("It fell from 1,250.5 to -3e2, or 3-4%.")
        [1250.5, -300.0, 3.0, 4.0]
    """
    found = (match.group().replace(",", "").replace("−", "-") for match in _NUMBER.finditer(text))
    return [value for value in map(float, found) if math.isfinite(value)]


def answers_from_rows(
    rows: Iterable[Mapping[str, Any]], prompt: str = "prompt", answer: str = "answer"
) -> dict[str, list[Any]]:
    """The known answers of a dataset, for [`ExactMatch`] and [`NumericMatch`], which see nothing but prompt and completion.

    Args:
        rows (`Iterable[Mapping]`): dictionaries, or a `datasets.Dataset`. A prompt that comes several times has all of its answers; a row whose answer is
            `None` is left out.
        prompt (`str`, *optional*, defaults to `"prompt"`): the column with the prompt, standard or conversational.
        answer (`str`, *optional*, defaults to `"answer"`): the column with the answer, or with a list of answers.

    Raises:
        InputError: a row lacks a column, or none has an answer.
    """
    answers: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        for column in (prompt, answer):
            if column not in row:
                raise InputError(f"row {number}: no column '{column}', found {', '.join(map(str, row))}")
        text: Text = row[prompt]
        known = row[answer]
        if known is not None:
            answers.setdefault(plain_text(text), []).extend(known if isinstance(known, list | tuple) else [known])
    if not answers:
        raise InputError(f"no row has an answer in column '{answer}'")
    return answers


@dataclass(frozen=True)
class ExactMatch:
    """1 if the completion is a known answer of its prompt (after [`normalised`]), else 0; `None` for a prompt without a known answer.

    Args:
        answers (`Mapping[str, str | Sequence[str]]`): prompt to answer or answers; `answers_from_rows` reads them from a dataset.
        extract (`str`, *optional*): regular expression with one group; the group of its last match is compared instead of the whole completion, and no
            match scores 0: `r"<answer>(.*?)</answer>"`.

    Raises:
        InputError: no answer, one that is empty after normalising, or an `extract` that is no regular expression with one group.
    """

    answers: Answers
    extract: str | None = None
    _known: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = {
            prompt: frozenset(normalised(str(answer)) for answer in _several(given))
            for prompt, given in self.answers.items()
        }
        for prompt, answers in known.items():
            if "" in answers:
                raise InputError(f"the prompt {prompt[:60]!r} has an empty answer: {self.answers[prompt]!r}")
        _check(known, self.extract)
        object.__setattr__(self, "_known", known)

    def __call__(self, prompt: str, completion: str) -> float | None:
        """1.0, 0.0 or `None` for `completion`."""
        if prompt not in self._known:
            return None
        text = _extracted(self.extract, completion)
        return float(text is not None and normalised(text) in self._known[prompt])


@dataclass(frozen=True)
class NumericMatch:
    r"""1 if the last number of the completion is a known answer of its prompt, else 0; `None` for a prompt without a known answer.

    A number $x$ matches the answer $a$ if $|x - a| \le \max(\text{absolute}, \text{relative} \cdot |a|)$.

    Args:
        answers (`Mapping[str, float | str | Sequence]`): prompt to answer or answers: numbers, or texts whose last number is meant (GSM8K's "… #### 42").
        relative (`float`, *optional*, defaults to 1e-6): tolerance as a part of the answer.
        absolute (`float`, *optional*, defaults to 1e-9): tolerance in the answer's unit.
        extract (`str`, *optional*): as in [`ExactMatch`]: the last number of the group is compared.

    Raises:
        InputError: no answer, one without a finite number, a negative tolerance, or a wrong `extract`.

    Example:
        >>> NumericMatch({"6 * 7?": 42})("6 * 7?", "6 times 7 makes 42.0.")
        1.0
    """

    answers: Answers
    relative: float = 1e-6
    absolute: float = 1e-9
    extract: str | None = None
    _known: Mapping[str, tuple[float, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("relative", self.relative), ("absolute", self.absolute)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} must be a tolerance of at least 0, found {value}")
        known = {
            prompt: tuple(_number(prompt, answer) for answer in _several(given))
            for prompt, given in self.answers.items()
        }
        _check(known, self.extract)
        object.__setattr__(self, "_known", known)

    def __call__(self, prompt: str, completion: str) -> float | None:
        """1.0, 0.0 or `None` for `completion`."""
        if prompt not in self._known:
            return None
        found = numbers(_extracted(self.extract, completion) or "")[-1:]
        # Not math.isclose: it would take the tolerance relative to the larger of the two.
        return float(
            any(abs(x - a) <= max(self.absolute, self.relative * abs(a)) for x in found for a in self._known[prompt])
        )


def _several(given: str | float | Sequence[str | float]) -> Sequence[str | float]:
    return [given] if isinstance(given, str | float | int) else given


def _number(prompt: str, answer: str | float) -> float:
    found = numbers(answer) if isinstance(answer, str) else [float(answer)] if math.isfinite(answer) else []
    if not found:
        raise InputError(f"the answer of the prompt {prompt[:60]!r} must hold a finite number, found {answer!r}")
    return found[-1]


def _check(known: Mapping[str, Any], extract: str | None) -> None:
    if not known:
        raise InputError("answers must hold at least one prompt, found none")
    for prompt, answers in known.items():
        if not answers:
            raise InputError(f"the prompt {prompt[:60]!r} has an empty list of answers")
    if extract is None:
        return
    try:
        groups = re.compile(extract).groups
    except re.error as error:
        raise InputError(f"extract {extract!r} is not a regular expression: {error}") from error
    if groups != 1:
        raise InputError(f"extract must have one group, the answer, found {groups} in {extract!r}")


def _extracted(pattern: str | None, completion: str) -> str | None:
    if pattern is None:
        return completion
    found = re.findall(pattern, completion, re.DOTALL)
    return found[-1] if found else None
