"""Which characters a completion is written in: a cheap guard against answers in another language or in noise."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from frontier.errors import unknown_name

SCRIPTS = (
    "Arabic", "Armenian", "Bengali", "CJK", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek", "Gujarati", "Gurmukhi", "Hangul", "Hebrew", "Hiragana",
    "Kannada", "Katakana", "Khmer", "Lao", "Latin", "Malayalam", "Mongolian", "Myanmar", "Sinhala", "Tamil", "Telugu", "Thai", "Tibetan",
)  # fmt: skip
"""The scripts that [`ScriptShare`] knows: the first words of the Unicode names of their letters (CJK = Chinese characters)."""


def ascii_share(prompt: str, completion: str) -> float | None:
    """The share of ASCII among the characters that are no white space, in [0, 1]; `None` without one."""
    found = [c for c in completion if not c.isspace()]
    return sum(c.isascii() for c in found) / len(found) if found else None


@dataclass(frozen=True)
class ScriptShare:
    """The share of the letters that belong to a script, in [0, 1]; `None` without a letter. It tells scripts apart, not languages: French is as Latin as English.

    Args:
        script (`str`, *optional*, defaults to `"Latin"`): one of `SCRIPTS`.

    Raises:
        InputError: an unknown script.

    Example:
        >>> ScriptShare("Cyrillic")("", "Привет, Bob!")
        0.6666666666666666
    """

    script: str = "Latin"

    def __post_init__(self) -> None:
        if self.script not in SCRIPTS:
            raise unknown_name("script", self.script, SCRIPTS)

    def __call__(self, prompt: str, completion: str) -> float | None:
        """The share for `completion`."""
        letters = [c for c in completion if c.isalpha()]
        wanted = self.script.upper()
        return sum(_script(c) == wanted for c in letters) / len(letters) if letters else None


@lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    # At "-" too: ー, which lengthens vowels, is the KATAKANA-HIRAGANA PROLONGED SOUND MARK.
    name = re.split("[ -]", unicodedata.name(letter, ""))
    return name[1] if name[0] in ("FULLWIDTH", "HALFWIDTH") and len(name) > 1 else name[0]
