"""Count the syllables of English words by their spelling."""

import re
import unicodedata

_VOWELS = re.compile(r"[aeiouy]+")
# "make", "used", "times": an e alone at the end that no one says, but not after a consonant and l ("table"), where it is the syllable.
_SILENT = re.compile(
    r"(?:(?<![bcdfgkpstz]l)e|(?<![dt])(?<![bcdfgkpstz]l)ed|(?<![cgsxz])(?<![cs]h)(?<![bcdfgkpstz]l)es)$"
)
# Two vowels in a row that are two syllables: "radio", "various", "piano", but "special", "nation", "region".
_HIATUS = re.compile(r"(?<![cgst])i[aou]|[aeiouy]ing$")


def syllables(word: str) -> int:
    """Syllables of an English word, at least 1.

    Counts groups of vowels, less a silent final e, plus the commonest pairs of vowels that are said apart. English spelling does not tell more:
    a word now and then is one off ("create" and "science" count 1, "business" 3), and a word without a vowel (a number, an abbreviation) counts 1. For
    other languages the count means little.

    Args:
        word (`str`): as `words` gives it; the parts of "well-known" are counted one by one.

    Example:
        >>> [syllables(word) for word in ("table", "used", "wanted", "radio", "being", "well-known")]
        [2, 1, 2, 3, 2, 2]
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))
    return sum(_of_part(part) for part in re.split(r"[-‑]", re.sub(r"['’]", "", plain)) if part) or 1


def _of_part(part: str) -> int:
    part = part.replace("qu", "kw")
    # "player", "saying": the y between vowels begins a syllable, it does not join the two.
    part = re.sub(r"(?<=[aeiou])y(?=[aeiou])", "j", part)
    count = len(_VOWELS.findall(part)) + len(_HIATUS.findall(part))
    ending = _SILENT.search(part)
    if ending and not re.search(r"[aeiouy]$", part[: ending.start()]):
        count -= 1
    return max(count, 1)
