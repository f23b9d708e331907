"""Ready rewards that need no model: brevity, sentence length, sentiment, vocabulary, keywords, format, banned words.

Each is a callable `(prompt, completion) -> float | None` that looks at the completion, is maximised, and fits
[`FunctionReward`]. A word is a run of letters or digits, with inner apostrophes and hyphens ("don't", "well-known"); words are compared in
lower case. `None` = the quantity does not exist for this text (the mean length of no sentence).
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from frontier.errors import InputError

_WORD = re.compile(r"[^\W_]+(?:['’‑-][^\W_]+)*")
# A sentence ends with a run of . ! ? … (and closing quotes or brackets) before white space or the end: "3.5" holds no end.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\s+|$)")

Rule = Callable[[str, str], float | None]


def words(text: str) -> list[str]:
    """The words of a text in lower case.

    Example:
        >>> words("Don't stop, well-known 42!")
        ["don't", 'stop', 'well-known', '42']
    """
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a text that hold at least one word.

    Example:
        >>> sentences("It is 3.5 km. Really?! Yes")
        ['It is 3.5 km', 'Really', 'Yes']
    """
    return [part for part in _SENTENCE_END.split(text) if _WORD.search(part)]


def brevity(prompt: str, completion: str) -> float:
    """Minus the number of words: 0 for an empty completion, shorter is better."""
    return -float(len(words(completion)))


def sentence_length(prompt: str, completion: str) -> float | None:
    """Mean number of words per sentence, so longer sentences are better ([`minus`] for the opposite); `None` without a sentence."""
    lengths = [len(words(sentence)) for sentence in sentences(completion)]
    return sum(lengths) / len(lengths) if lengths else None


@dataclass(frozen=True)
class Sentiment:
    """Mean valence of the words that a lexicon knows.

    Args:
        lexicon (`Mapping[str, float]`): word to valence, positive = pleasant, in any unit (the scores are in it too).
        neutral (`float`, *optional*, defaults to 0): the score of a completion without any known word; `None` = not known.

    Raises:
        InputError: the lexicon is empty.
    """

    lexicon: Mapping[str, float]
    neutral: float | None = 0.0

    def __post_init__(self) -> None:
        if not self.lexicon:
            raise InputError("a sentiment lexicon must hold at least one word, found none")
        object.__setattr__(self, "lexicon", {word.lower(): float(value) for word, value in self.lexicon.items()})

    def __call__(self, prompt: str, completion: str) -> float | None:
        """Mean valence of the known words of `completion`."""
        valences = [self.lexicon[word] for word in words(completion) if word in self.lexicon]
        return sum(valences) / len(valences) if valences else self.neutral


@dataclass(frozen=True)
class VocabularyRichness:
    """Type-token ratio: distinct words over words, in (0, 1]; `None` without a word.

    Args:
        window (`int`, *optional*): average the ratio over every run of this many words (MATTR, [Covington & McFall,
            2010](https://doi.org/10.1080/09296171003643098)), which does not fall with length as the plain ratio does. A shorter text
            gets its plain ratio.

    Raises:
        InputError: `window` is not positive.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise InputError(f"window must be at least 1 word, found {self.window}")

    def __call__(self, prompt: str, completion: str) -> float | None:
        """The ratio for `completion`."""
        found = words(completion)
        if not found:
            return None
        size = len(found) if self.window is None else min(self.window, len(found))
        ratios = [len(set(found[start : start + size])) / size for start in range(len(found) - size + 1)]
        return sum(ratios) / len(ratios)


@dataclass(frozen=True)
class KeywordCoverage:
    """The fraction of the keywords that the completion uses at least once, in [0, 1]. A keyword may have several words.

    Args:
        keywords (`Collection[str]`): what should be mentioned.

    Raises:
        InputError: no keyword, or one without a word in it.
    """

    keywords: Collection[str]
    _phrases: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_phrases", _split_phrases("keywords", self.keywords))

    def __call__(self, prompt: str, completion: str) -> float:
        """The fraction for `completion`."""
        found = words(completion)
        return sum(_count(phrase, found) > 0 for phrase in self._phrases) / len(self._phrases)


@dataclass(frozen=True)
class BannedWords:
    """Minus the number of times that a banned word or phrase occurs: 0 is best.

    Args:
        banned (`Collection[str]`): words or phrases.

    Raises:
        InputError: nothing is banned, or a phrase has no word in it.
    """

    banned: Collection[str]
    _phrases: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_phrases", _split_phrases("banned", self.banned))

    def __call__(self, prompt: str, completion: str) -> float:
        """Minus the count for `completion`."""
        found = words(completion)
        return 0.0 - sum(_count(phrase, found) for phrase in self._phrases)  # 0.0 - 0 is 0.0, not -0.0


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

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern, re.DOTALL)
        except re.error as error:
            raise InputError(f"pattern {self.pattern!r} is not a regular expression: {error}") from error

    def __call__(self, prompt: str, completion: str) -> float:
        """1.0 or 0.0 for `completion`."""
        pattern = re.compile(self.pattern, re.DOTALL)
        return float(bool(pattern.fullmatch(completion.strip()) if self.whole else pattern.search(completion)))


def minus(rule: Rule) -> Rule:
    """The rule with its sign changed: a cost as a reward. `None` stays `None`.

    Example:
        >>> minus(sentence_length)("", "One two. Three four.")
        -2.0
    """

    def negative(prompt: str, completion: str) -> float | None:
        value = rule(prompt, completion)
        return None if value is None else -value

    return negative


def _split_phrases(what: str, phrases: Collection[str]) -> tuple[tuple[str, ...], ...]:
    if isinstance(phrases, str):
        raise InputError(f"{what} must be a list of words, found one string: write ['{phrases}']")
    split = tuple(dict.fromkeys(tuple(words(phrase)) for phrase in phrases))
    if not split or () in split:
        raise InputError(
            f"{what} must hold at least one word or phrase, and every one a letter or digit; found {list(phrases)!r}"
        )
    return split


def _count(phrase: tuple[str, ...], found: list[str]) -> int:
    size = len(phrase)
    return sum(tuple(found[start : start + size]) == phrase for start in range(len(found) - size + 1))
