"""Cut texts that are too long, and say how many there were: a score of half a text is not the score of the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from frontier.errors import InputError

_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")


@dataclass(frozen=True)
class Truncation:
    """How many of a number of texts were cut, and by how much.

    Args:
        texts (`int`): texts in all.
        cut (`int`): those that were longer than allowed.
        tokens (`int`): how many tokens were cut off, all together.
    """

    texts: int = 0
    cut: int = 0
    tokens: int = 0

    def __add__(self, other: "Truncation") -> "Truncation":
        return Truncation(self.texts + other.texts, self.cut + other.cut, self.tokens + other.tokens)

    def describe(self, max_length: int, side: str) -> str:
        """A sentence for people.

        Example:
            >>> print(Truncation(300, 12, 480).describe(128, "left"))
            12 of 300 texts (4 %) are longer than 128 tokens and were cut on the left, by 480 tokens in all
        """
        share = f"{100 * self.cut / max(1, self.texts):.3g} %"
        return (
            f"{self.cut} of {self.texts} texts ({share}) are longer than {max_length} tokens and were cut on the {side}, "
            f"by {self.tokens} tokens in all"
        )


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse texts longer than a model's table of positions, on which it would fail.

    Raises:
        InputError: the table is shorter than `max_length`.
    """
    usable = usable_positions(model)
    if usable is not None and max_length > usable:
        raise InputError(
            f"max_length must be at most {usable}, the positions that {type(model).__name__} has, found {max_length}"
        )


def usable_positions(model: PreTrainedModel) -> int | None:
    """How many tokens a model's tables of learned positions allow; `None` if it has none (rotary or relative positions have no end)."""
    usable = []
    for name, module in model.base_model.named_modules():
        if name.rpartition(".")[2] in _POSITION_TABLES and isinstance(module, nn.Embedding):
            # RoBERTa counts from behind its padding index, OPT and BART from an offset.
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            usable.append(module.num_embeddings - unused - getattr(module, "offset", 0))
    return min(usable, default=None)


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[list[list[int]], Truncation]:
    """Token ids of texts, at most `max_length` of each, cut on `tokenizer.truncation_side`, and how much that was.

    The tokenizer's own special tokens stay, whichever side is cut.
    """
    rows = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"] if texts else []
    long = [index for index, row in enumerate(rows) if len(row) > max_length]
    if not long:
        return rows, Truncation(len(rows))
    # Cut by the tokenizer, not here: only it knows which of the tokens are special.
    short = tokenizer([texts[index] for index in long], truncation=True, max_length=max_length, padding=False)
    tokens = sum(len(rows[index]) - len(row) for index, row in zip(long, short["input_ids"], strict=True))
    for index, row in zip(long, short["input_ids"], strict=True):
        rows[index] = row
    return rows, Truncation(len(rows), len(long), tokens)
