"""Read yes or no, and how sure, out of a chat completion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frontier.errors import InputError
from reward_heads.remote.judge_prompt import JudgePrompt

# White space, Markdown, quotes and the marks of tokenizers, which may stand around the word.
_AROUND = " \t\r\n*_\"'“”‘’`#>:.,;!()[]{}▁ĠĊ"
_SMALLEST = 1e-12
THINK, END_OF_THOUGHT = "<think>", "</think>"


@dataclass(frozen=True)
class Reading:
    """What one chat completion says.

    Args:
        log_odds (`float`, *optional*): log P(yes) − log P(no); `None` = it does not say.
        mass (`float`, *optional*): P(yes) + P(no) among all tokens, where log-probabilities tell.
        problem (`str`, *optional*): why it does not say: `"refused"`, `"cut off"`, `"neither yes nor no"`.
        text (`str`): the beginning of the answer.
    """

    log_odds: float | None
    mass: float | None
    problem: str | None
    text: str


def choice_of(answer: Any) -> dict[str, Any]:
    """The first choice of a chat completion, once its form is that of the OpenAI API.

    Raises:
        InputError: says what is missing.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise InputError(f'expected a chat completion, {{"choices": [{{"message": ...}}]}}, found {_short(answer)}')
    message = choices[0].get("message")
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        raise InputError(f"expected a message with text as its content, found {_short(message)}")
    return choices[0]


def has_log_probabilities(choice: dict[str, Any]) -> bool:
    """Whether the endpoint gives them; many ignore the request. An empty list is that of an empty answer."""
    found = choice.get("logprobs")
    return isinstance(found, dict) and isinstance(found.get("content"), list)


def read_log_probabilities(choice: dict[str, Any], prompt: JudgePrompt, min_mass: float) -> Reading:
    r"""P(yes) from the top log-probabilities of the first token that says something.

    $$ \log\text{-odds} = \log \sum_{t \in \text{yes}} p_t - \log \sum_{t \in \text{no}} p_t $$

    over the listed tokens t that read yes or no once case, white space and punctuation are taken off ("Yes", " yes", "YES", "**Yes"). A side that is not
    listed at all gets the most it can have: the smallest listed probability, or what the listed ones leave of 1. Sums are at least 1e-12.

    Args:
        choice (`dict`): with log-probabilities.
        prompt (`JudgePrompt`): says which answers are yes and no.
        min_mass (`float`): the least P(yes) + P(no) that is an answer.

    Raises:
        InputError: the log-probabilities have another form, or are positive or NaN.
    """
    text = _content(choice)
    if _refused(choice):
        return Reading(None, None, "refused", text)
    for listed in _after_thinking([_position(entry) for entry in choice["logprobs"]["content"]]):
        chosen, top = listed
        if not chosen.strip(_AROUND):
            continue
        yes = sum(p for token, p in top if _means(token, prompt.yes))
        no = sum(p for token, p in top if _means(token, prompt.no))
        if yes + no < min_mass:
            return Reading(None, yes + no, "neither yes nor no", text)
        unseen = min(min(p for _, p in top), 1.0 - sum(p for _, p in top))
        odds = math.log(max(yes or unseen, _SMALLEST)) - math.log(max(no or unseen, _SMALLEST))
        return Reading(odds, yes + no, None, text)
    return Reading(None, None, "cut off", text)


def read_text(choice: dict[str, Any], prompt: JudgePrompt) -> tuple[bool | None, str | None]:
    """Yes (`True`) or no by the first word of the answer, or `None` and why not."""
    text = _content(choice)
    if _refused(choice):
        return None, "refused"
    if THINK in text and END_OF_THOUGHT not in text:
        return None, "cut off"
    words = text.rpartition(END_OF_THOUGHT)[2].strip(_AROUND).split()
    if not words:
        return None, "cut off" if choice.get("finish_reason") == "length" else "neither yes nor no"
    for meaning, answers in ((True, prompt.yes), (False, prompt.no)):
        if _means(words[0], answers):
            return meaning, None
    return None, "neither yes nor no"


def _content(choice: dict[str, Any]) -> str:
    return choice["message"].get("content") or ""


def _refused(choice: dict[str, Any]) -> bool:
    return bool(choice["message"].get("refusal")) or choice.get("finish_reason") == "content_filter"


def _means(token: str, answers: Sequence[str]) -> bool:
    return token.strip(_AROUND).casefold() in answers


def _position(entry: Any) -> tuple[str, list[tuple[str, float]]]:
    """The chosen token, and the listed ones with their probabilities; the chosen one is among them."""
    try:
        listed = {entry["token"]: entry["logprob"]}
        listed |= {other["token"]: other["logprob"] for other in entry.get("top_logprobs") or []}
        found = [(str(token), math.exp(float(value))) for token, value in listed.items()]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"expected a token with its top_logprobs, found {_short(entry)}") from error
    for token, p in found:
        if not 0 <= p <= 1.001:  # rounded logits give a little more than 1
            raise InputError(f"expected log-probabilities of at most 0, found {listed[token]} for {token!r}")
    return str(entry["token"]), found


def _after_thinking(positions: list[tuple[str, list[tuple[str, float]]]]) -> list[tuple[str, list[tuple[str, float]]]]:
    """The positions after a reasoning model's thoughts; none if it was cut off within them."""
    text, start = "", 0
    for index, (token, _) in enumerate(positions):
        text += token
        if text.rstrip().endswith(END_OF_THOUGHT):
            start = index + 1
    return [] if THINK in text and END_OF_THOUGHT not in text else positions[start:]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
