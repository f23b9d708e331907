"""Lists of words and phrases: reading them from files, and counting them in a text."""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from frontier.errors import InputError
from reward_heads.rules.text import words


@dataclass(frozen=True)
class Phrases:
    """Words, phrases and symbols to look for, ready for fast counting; made by [`Phrases.of`].

    Args:
        by_size (`dict[int, frozenset]`): number of words to the phrases of that many words.
        symbols (`tuple[str, ...]`): entries without a word (emoji), looked for as they are.
    """

    by_size: dict[int, frozenset[tuple[str, ...]]]
    symbols: tuple[str, ...]

    @classmethod
    def of(cls, what: str, entries: Collection[str]) -> "Phrases":
        """Sort the entries of a list; those with the same words are one.

        Raises:
            InputError: no entry, or one that has neither a word nor a symbol in it.
        """
        if isinstance(entries, str):
            raise InputError(f"{what} must be a list of words, found one string: write ['{entries}']")
        by_size: dict[int, set[tuple[str, ...]]] = {}
        symbols: dict[str, None] = {}
        for entry in entries:
            phrase = tuple(words(entry))
            if phrase:
                by_size.setdefault(len(phrase), set()).add(phrase)
            elif any(unicodedata.category(c).startswith("S") for c in entry):
                symbols[entry.strip()] = None
            else:
                raise InputError(f"every entry of {what} must have a letter, a digit or a symbol, found {entry!r}")
        if not by_size and not symbols:
            raise InputError(f"{what} must hold at least one word or phrase, found none")
        return cls({size: frozenset(phrases) for size, phrases in by_size.items()}, tuple(symbols))

    def __len__(self) -> int:
        return sum(map(len, self.by_size.values())) + len(self.symbols)

    def counts(self, text: str) -> Counter[tuple[str, ...] | str]:
        """How often each entry occurs in `text`; the words of a phrase must follow one another, whatever stands between them."""
        found = words(text)
        counts: Counter[tuple[str, ...] | str] = Counter()
        for size, phrases in self.by_size.items():
            windows = (tuple(found[start : start + size]) for start in range(len(found) - size + 1))
            counts.update(window for window in windows if window in phrases)
        counts.update({symbol: text.count(symbol) for symbol in self.symbols if symbol in text})
        return counts


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers (from 1), empty ones left out.

    Raises:
        InputError: there is no such file, or it is not UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
