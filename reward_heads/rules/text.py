"""What every rule means by a word and by a sentence, and what a rule is."""

import re
from collections.abc import Callable

WORD = re.compile(r"[^\W_]+(?:['’‑-][^\W_]+)*")
# A sentence ends with a run of . ! ? … (and closing quotes or brackets) before white space or the end: "3.5" holds no end.
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\s+|$)")

Rule = Callable[[str, str], float | None]
"""`(prompt, completion) -> score`, higher is better; `None` = the quantity does not exist for this text."""


def words(text: str) -> list[str]:
    """The words of a text in lower case.

    Example:
        >>> words("Don't stop, well-known 42!")
        ["don't", 'stop', 'well-known', '42']
    """
    return [word.lower().replace("’", "'") for word in WORD.findall(text)]


def sentences(text: str) -> list[str]:
    """The sentences of a text that hold at least one word.

    Example:
        >>> sentences("It is 3.5 km. Really?! Yes")
        ['It is 3.5 km', 'Really', 'Yes']
    """
    return [part for part in _SENTENCE_END.split(text) if WORD.search(part)]
