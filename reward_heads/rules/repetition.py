"""Whether a completion repeats itself: distinct n-grams, the longest repeated run of words, how well it compresses."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from frontier.errors import InputError
from reward_heads.rules.text import words


@dataclass(frozen=True)
class DistinctNgrams:
    """Distinct-n ([Li et al., 2016](https://huggingface.co/papers/1510.03055)) of one text: different n-grams of words over all of them, in (0, 1].

    1 = nothing comes twice. Falls with the length of natural texts; `VocabularyRichness(window)` does not. `None` for a text of fewer than `n` words.

    Args:
        n (`int`, *optional*, defaults to 2): words per n-gram.

    Raises:
        InputError: `n` is not positive.
    """

    n: int = 2

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"n must be at least 1 word, found {self.n}")

    def __call__(self, prompt: str, completion: str) -> float | None:
        """The ratio for `completion`."""
        found = words(completion)
        total = len(found) - self.n + 1
        return len({tuple(found[i : i + self.n]) for i in range(total)}) / total if total > 0 else None


def longest_repeat(prompt: str, completion: str) -> float:
    """Minus the number of words of the longest run that occurs twice (the two may overlap): 0 is best, a loop of n words scores about -n.

    Example:
        >>> longest_repeat("", "I see the cat and you see the cat too.")
        -3.0
    """
    found = words(completion)
    # Runs of 2^k words get equal ids where they are equal; the longest repeat is then put together from its binary digits, which
    # works because a run that repeats has shorter runs that do. O(n log n), also for one word a thousand times.
    ids = [_ids(found)]
    while len(set(ids[-1])) < len(ids[-1]):
        last, step = ids[-1], 2 ** (len(ids) - 1)
        ids.append(_ids([(last[i], last[i + step]) for i in range(len(last) - step)]))
    length, runs = 0, [0] * (len(found) + 1)
    for k in range(len(ids) - 1, -1, -1):
        starts = range(max(len(found) - length - 2**k + 1, 0))
        longer = _ids([(runs[i], ids[k][i + length]) for i in starts])
        if len(set(longer)) < len(longer):
            length, runs = length + 2**k, longer
    return 0.0 - length


def compression_ratio(prompt: str, completion: str) -> float | None:
    """Compressed size over size of the UTF-8 text (DEFLATE, level 9), in (0, 1]; `None` for no text.

    Low for loops, about 0.5 for a page of prose, 1 for a few words. Falls with the length of natural texts, and the last digits depend on the zlib that Python was built with.
    """
    raw = completion.strip().encode("utf-8", "surrogatepass")
    if not raw:
        return None
    packer = zlib.compressobj(level=9, wbits=-15)  # without zlib's header and checksum
    return min(1.0, len(packer.compress(raw) + packer.flush()) / len(raw))


def _ids(items: Sequence[object]) -> list[int]:
    """Small numbers, equal where the items are equal."""
    known: dict[object, int] = {}
    return [known.setdefault(item, len(known)) for item in items]
