"""Words that a completion must not use: profanity lists, names of competitors."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field

from reward_heads.rules.word_lists import Phrases, read_lines


@dataclass(frozen=True)
class BannedWords:
    """Minus the number of times that a banned word or phrase occurs: 0 is best.

    Whole words only ("ass" is not in "class"), in lower case; an emoji is found anywhere, "a$$" only as it is written.

    Args:
        banned (`Collection[str]`): words or phrases.

    Raises:
        InputError: nothing is banned, or an entry is only punctuation.
    """

    banned: Collection[str]
    _phrases: Phrases = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_phrases", Phrases.of("banned", self.banned))

    def __call__(self, prompt: str, completion: str) -> float:
        """Minus the count for `completion`."""
        return 0.0 - self._phrases.counts(completion).total()  # 0.0 - 0 is 0.0, not -0.0

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "BannedWords":
        """Read a list with one word or phrase a line, in UTF-8; empty lines are left out.

        Raises:
            InputError: no such file, or no word in it.
        """
        return cls([line.strip() for _, line in read_lines(path)])
