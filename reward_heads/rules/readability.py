"""How easy a completion is to read, by the classical formulas for English prose.

The ease grows as a text gets easier; the three grades (US school years) grow as it gets harder: `minus(flesch_kincaid_grade)` rewards easy texts,
`Band(coleman_liau_grade, 5, 8)` a level. Words and sentences are those of `reward_heads.rules.text`; a text without a word has no readability (`None`).
Made for texts of a hundred words or more: one short sentence gives extreme numbers.
"""

from reward_heads.rules.syllables import syllables
from reward_heads.rules.text import sentences, words


def flesch_reading_ease(prompt: str, completion: str) -> float | None:
    r"""Flesch reading ease ([Flesch, 1948](https://doi.org/10.1037/h0057532)): about 100 = very easy, 60 = plain English, 0 = very hard.

    $$ 206.835 - 1.015\, \frac{\text{words}}{\text{sentences}} - 84.6\, \frac{\text{syllables}}{\text{words}} $$
    """
    counts = _counts(completion)
    return None if counts is None else 206.835 - 1.015 * counts[0] - 84.6 * counts[1]


def flesch_kincaid_grade(prompt: str, completion: str) -> float | None:
    r"""Flesch-Kincaid grade ([Kincaid et al., 1975](https://apps.dtic.mil/sti/citations/ADA006655)): the US school year that can read it; higher is harder.

    $$ 0.39\, \frac{\text{words}}{\text{sentences}} + 11.8\, \frac{\text{syllables}}{\text{words}} - 15.59 $$
    """
    counts = _counts(completion)
    return None if counts is None else 0.39 * counts[0] + 11.8 * counts[1] - 15.59


def coleman_liau_grade(prompt: str, completion: str) -> float | None:
    r"""Coleman-Liau index ([Coleman & Liau, 1975](https://doi.org/10.1037/h0076540)): a grade from letters, which need no syllables; higher is harder.

    $$ 0.0588\, L - 0.296\, S - 15.8 $$

    with $L$ letters (and digits) and $S$ sentences per 100 words.
    """
    counts = _letters(completion)
    return None if counts is None else 5.88 * counts[0] - 29.6 / counts[1] - 15.8


def automated_readability_grade(prompt: str, completion: str) -> float | None:
    r"""Automated readability index ([Senter & Smith, 1967](https://apps.dtic.mil/sti/citations/AD0667273)): a grade without syllables; higher is harder.

    $$ 4.71\, \frac{\text{letters}}{\text{words}} + 0.5\, \frac{\text{words}}{\text{sentences}} - 21.43 $$
    """
    counts = _letters(completion)
    return None if counts is None else 4.71 * counts[0] + 0.5 * counts[1] - 21.43


def _counts(text: str) -> tuple[float, float] | None:
    """Words per sentence and syllables per word."""
    found = words(text)
    return (len(found) / len(sentences(text)), sum(map(syllables, found)) / len(found)) if found else None


def _letters(text: str) -> tuple[float, float] | None:
    """Letters and digits per word, and words per sentence."""
    found = words(text)
    if not found:
        return None
    return sum(c.isalnum() for word in found for c in word) / len(found), len(found) / len(sentences(text))
