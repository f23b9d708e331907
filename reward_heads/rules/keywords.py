"""Whether a completion mentions what it should."""

from collections.abc import Collection
from dataclasses import dataclass, field

from reward_heads.rules.word_lists import Phrases


@dataclass(frozen=True)
class KeywordCoverage:
    """The fraction of the keywords that the completion uses at least once, in [0, 1]. A keyword may have several words.

    Args:
        keywords (`Collection[str]`): what should be mentioned.

    Raises:
        InputError: no keyword, or one without a word in it.
    """

    keywords: Collection[str]
    _phrases: Phrases = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_phrases", Phrases.of("keywords", self.keywords))

    def __call__(self, prompt: str, completion: str) -> float:
        """The fraction for `completion`."""
        return len(self._phrases.counts(completion)) / len(self._phrases)
