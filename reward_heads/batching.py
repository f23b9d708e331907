"""Turn labelled examples into padded batches: tokenized once, both texts of a pair in one forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reward_heads.examples import Example
from reward_heads.model import TransformerReward
from reward_heads.sampling import same_prompt
from reward_heads.truncation import Truncation


class TokenizedExamples(Dataset):
    """Examples tokenized once. A pair's two texts lie one behind the other in `input_ids`, so its length there is what the pair costs.

    `prompts` tells which rows share a prompt. `truncation` ([`Truncation`]) says how many of the texts were cut.
    """

    def __init__(self, examples: Sequence[Example], targets: Tensor, reward: TransformerReward) -> None:
        paired = [(e.prompt, e.other) for e in examples if e.other is not None]
        prompts = [e.prompt for e in examples] + [prompt for prompt, _ in paired]
        rows = reward.encode(prompts, [e.completion for e in examples] + [other for _, other in paired])
        self.truncation: Truncation = reward.last_truncation
        with_margins = any(example.margins is not None for example in examples)
        seconds = iter(rows[len(examples) :])
        self.prompts = same_prompt([e.prompt for e in examples])
        self.items: list[dict[str, Any]] = []
        for example, first, target in zip(examples, rows, targets, strict=False):
            second = next(seconds) if example.is_pair else []
            item = {"input_ids": first + second, "split": len(first), "target": target}
            if with_margins:
                item["margin"] = torch.zeros_like(target) if example.margins is None else torch.tensor(example.margins)
            self.items.append(item)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class PairCollator:
    """Tokenized examples to one padded batch: the B first (or only) texts, then the second texts of its pairs. A text that comes again is read once."""

    def __init__(self, reward: TransformerReward) -> None:
        self.reward = reward

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` `[U, L]` of the U different texts; `texts` `[B + P]`, which of them each text is; `targets` `[B, K]`; `is_pair` `[B]`, of which P are true;
        `margins` `[B, K]` where there are any.
        """
        texts = [texts_of(item) for item in items]
        rows = [first for first, *_ in texts] + [second for _, *seconds in texts for second in seconds]
        places: dict[tuple[int, ...], int] = {}
        which = [places.setdefault(tuple(row), len(places)) for row in rows]
        input_ids, attention_mask = self.reward.pad([list(row) for row in places])
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "texts": torch.tensor(which),
            "targets": torch.stack([item["target"] for item in items]),
            "is_pair": torch.tensor([len(rows) == 2 for rows in texts]),
        }
        if "margin" in items[0]:
            batch["margins"] = torch.stack([item["margin"] for item in items])
        return batch


def texts_of(item: dict[str, Any]) -> list[list[int]]:
    """The ids of the one (rating) or two (pair) texts of a tokenized example."""
    ids, split = item["input_ids"], item["split"]
    return [ids[:split], ids[split:]] if split < len(ids) else [ids]
