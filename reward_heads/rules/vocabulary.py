"""How rich the vocabulary of a completion is."""

from dataclasses import dataclass

from frontier.errors import InputError
from reward_heads.rules.text import words


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
