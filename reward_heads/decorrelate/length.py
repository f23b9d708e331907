"""The length of a completion, from the text alone: what a judge sees, whatever tokenizer the policy has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import unknown_name
from reward_heads.rules import words
from reward_heads.text import Text, plain_text

UNITS = ("words", "characters")


@dataclass(frozen=True)
class Length:
    """How long a completion is.

    Tokens are no unit here: a count of them would tie a saved correction to one tokenizer, and words are what length bias is measured in.

    Args:
        unit (`str`, *optional*, defaults to `"words"`): `"words"` (see `reward_heads.rules.words`) or `"characters"`, for languages that put no space between words.

    Raises:
        InputError: the unit is unknown.

    Example:
        >>> Length()(["Two words.", "Don't stop now!"])
        tensor([2., 3.], dtype=torch.float64)
    """

    unit: str = "words"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise unknown_name("unit of length", str(self.unit), UNITS)

    def __call__(self, completions: Sequence[Text]) -> Tensor:
        """`[B]` float64: the length of each completion; of a chat, of all its messages together."""
        return torch.tensor([float(self._count(plain_text(text))) for text in completions], dtype=torch.float64)

    def log(self, completions: Sequence[Text]) -> Tensor:
        """The logarithm of one more than each length, `[B]` float64."""
        # math rather than torch: a vectorised log may differ from its scalar tail, and then a score would depend on the batch it is in.
        found = [math.log1p(length) for length in self(completions).tolist()]
        return torch.tensor(found, dtype=torch.float64)

    def _count(self, text: str) -> int:
        return len(words(text)) if self.unit == "words" else len(text)
