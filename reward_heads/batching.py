"""Turn labelled examples into padded batches: tokenized once, both texts of a pair in one forward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reward_heads.examples import Example
from reward_heads.model import TransformerReward


class TokenizedExamples(Dataset):
    """Examples tokenized once. A pair's two texts lie one behind the other in `input_ids`, so its length there is what the pair costs."""

    def __init__(self, examples: Sequence[Example], targets: Tensor, reward: TransformerReward) -> None:
        firsts = reward.encode([e.prompt for e in examples], [e.completion for e in examples])
        paired = [(e.prompt, e.other) for e in examples if e.other is not None]
        seconds = iter(reward.encode([prompt for prompt, _ in paired], [other for _, other in paired]))
        self.items = []
        for example, first, target in zip(examples, firsts, targets, strict=True):
            second = next(seconds) if example.is_pair else []
            self.items.append({"input_ids": first + second, "split": len(first), "target": target})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class PairCollator:
    """Tokenized examples to one padded batch: the B first (or only) texts, then the second texts of its pairs."""

    def __init__(self, reward: TransformerReward) -> None:
        self.reward = reward

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` `[B + P, L]`; `targets` `[B, K]`; `is_pair` `[B]`, of which P are true."""
        texts = [texts_of(item) for item in items]
        rows = [first for first, *_ in texts] + [second for _, *seconds in texts for second in seconds]
        input_ids, attention_mask = self.reward.pad(rows)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "targets": torch.stack([item["target"] for item in items]),
            "is_pair": torch.tensor([len(rows) == 2 for rows in texts]),
        }


def texts_of(item: dict[str, Any]) -> list[list[int]]:
    """The ids of the one (rating) or two (pair) texts of a tokenized example."""
    ids, split = item["input_ids"], item["split"]
    return [ids[:split], ids[split:]] if split < len(ids) else [ids]
