"""Lists of words and phrases: reading them from files, and counting them in a text."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from frontier.errors import InputError
from reward_heads.rules.text import WORD, words

# What makes an entry more than its words ("C++", "s&m", "f*ck"), besides what Unicode calls a symbol.
_MARKS = "@#$*+&"


@dataclass(frozen=True)
class Phrases:
    """Words, phrases and symbols to look for, ready for fast counting; made by [`Phrases.of`].

    Args:
        by_size (`dict[int, frozenset]`): number of words to the phrases of that many words.
        symbols (`tuple[str, ...]`): entries without a word (emoji), looked for as they are.
        literals (`tuple[str, ...]`): entries of words and symbols ("C++", "a$$"), in lower case, looked for as they are where no letter or digit touches them.
    """

    by_size: dict[int, frozenset[tuple[str, ...]]]
    symbols: tuple[str, ...]
    literals: tuple[str, ...] = ()

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
        literals: dict[str, None] = {}
        for entry in entries:
            phrase = tuple(words(entry))
            if phrase and any(c in _MARKS or _is_symbol(c) for c in WORD.sub("", entry)):
                literals[_plain(entry.strip())] = None
            elif phrase:
                by_size.setdefault(len(phrase), set()).add(phrase)
            elif any(map(_is_symbol, entry)):
                symbols[entry.strip()] = None
            else:
                raise InputError(f"every entry of {what} must have a letter, a digit or a symbol, found {entry!r}")
        if not by_size and not symbols and not literals:
            raise InputError(f"{what} must hold at least one word or phrase, found none")
        sizes = {size: frozenset(phrases) for size, phrases in by_size.items()}
        return cls(sizes, tuple(symbols), tuple(literals))

    def __len__(self) -> int:
        return sum(map(len, self.by_size.values())) + len(self.symbols) + len(self.literals)

    def counts(self, text: str) -> Counter[tuple[str, ...] | str]:
        """How often each entry occurs in `text`; the words of a phrase must follow one another, whatever stands between them."""
        found = words(text)
        counts: Counter[tuple[str, ...] | str] = Counter()
        for size, phrases in self.by_size.items():
            windows = (tuple(found[start : start + size]) for start in range(len(found) - size + 1))
            counts.update(window for window in windows if window in phrases)
        counts.update({symbol: text.count(symbol) for symbol in self.symbols if symbol in text})
        lower = _plain(text) if self.literals else ""
        for literal in self.literals:
            if literal in lower and (times := len(re.findall(rf"(?<!\w){re.escape(literal)}(?!\w)", lower))):
                counts[literal] += times
        return counts


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character).startswith("S")


def _plain(text: str) -> str:
    return text.lower().replace("’", "'")


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
