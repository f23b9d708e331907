"""How pleasant the words of a completion are, by a lexicon."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from frontier.errors import InputError
from reward_heads.rules.text import words
from reward_heads.rules.word_lists import read_lines


@dataclass(frozen=True)
class Sentiment:
    """Mean valence of the words that a lexicon knows.

    No grammar: "not good" counts as "good". Entries that are no word, such as ":-)" and ":p", are looked for among the parts between white space, as they are written.

    Args:
        lexicon (`Mapping[str, float]`): word to valence, positive = pleasant, in any unit (the scores are in it too).
        neutral (`float`, *optional*, defaults to 0): the score of a completion without any known word; `None` = not known.

    Raises:
        InputError: the lexicon is empty, or a valence is not finite.
    """

    lexicon: Mapping[str, float]
    neutral: float | None = 0.0
    _signs: Mapping[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.lexicon:
            raise InputError("a sentiment lexicon must hold at least one word, found none")
        for word, value in self.lexicon.items():
            if not math.isfinite(value):
                raise InputError(f"the valence of {word!r} must be finite, found {value}")
        signs = {word: float(value) for word, value in self.lexicon.items() if not _is_word(word)}
        valences = {word.lower().replace("’", "'"): float(value) for word, value in self.lexicon.items()}
        object.__setattr__(self, "_signs", signs)
        object.__setattr__(self, "lexicon", valences)

    def __call__(self, prompt: str, completion: str) -> float | None:
        """Mean valence of the known words and signs of `completion`."""
        valences = [self.lexicon[word] for word in words(completion) if word in self.lexicon]
        if self._signs:
            valences += [self._signs[part] for part in completion.split() if part in self._signs]
        return sum(valences) / len(valences) if valences else self.neutral

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, neutral: float | None = 0.0) -> "Sentiment":
        """Read a lexicon in the form of VADER's: one entry a line, token, tab, valence; what follows another tab is left out.

        Args:
            path (`str` or path): UTF-8; a token that stands twice has its last valence.
            neutral (`float`, *optional*, defaults to 0): as in the class.

        Raises:
            InputError: no such file, or a line without a tab or a finite number; names the line.
        """
        lexicon = {}
        for number, line in read_lines(path):
            token, _, rest = line.partition("\t")
            try:
                value = float(rest.split("\t")[0])
            except ValueError:
                value = math.nan
            if not token.strip() or not math.isfinite(value):
                raise InputError(f"{path}:{number}: expected a token, a tab and a number, found {line[:60]!r}")
            lexicon[token.strip()] = value
        return cls(lexicon, neutral=neutral)


def _is_word(entry: str) -> bool:
    return words(entry) == [entry.lower().replace("’", "'")]
