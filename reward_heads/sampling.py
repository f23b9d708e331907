"""Order training rows so that those of one prompt meet in a batch, where a completion that several of them judge is read once."""

import json
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from reward_heads.text import Text

GROUP_BY_PROMPT = "group_by_prompt"


def same_prompt(prompts: Sequence[Text]) -> list[int]:
    """For each prompt the place of its first occurrence; conversations are compared message by message."""
    first: dict[str, int] = {}
    return [first.setdefault(json.dumps(prompt, sort_keys=True, default=str), i) for i, prompt in enumerate(prompts)]


class PromptGroupedSampler(Sampler[int]):
    """The rows of a prompt one behind the other, the prompts in a new random order each epoch.

    Args:
        groups (`Sequence[int]`): of each row, what its prompt is known by.

    Like `transformers`' own samplers it draws from torch's global generator, whose state checkpoints hold.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        members: dict[int, list[int]] = {}
        for row, group in enumerate(groups):
            members.setdefault(group, []).append(row)
        self._groups = list(members.values())
        self._rows = len(groups)

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        for place in torch.randperm(len(self._groups)).tolist():
            group = self._groups[place]
            yield from (group[i] for i in torch.randperm(len(group)).tolist())
