"""Score a completion once: remember the vectors of the most recently used (prompt, completion) texts."""

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.text import Text, check_same_length, text_key
from reward_heads.vector_reward import VectorReward, score_checked


class CachedReward:
    """A reward that answers from memory when it has seen the same prompt and completion; exact, least recently used out first.

    The reward must be a function of the texts alone. What is new in a batch is scored in one call, each distinct text once.

    Args:
        reward (`VectorReward`): scored on a miss.
        max_entries (`int`, *optional*, defaults to 100000): how many (prompt, completion) texts are kept.

    Raises:
        InputError: `max_entries` is not positive.
    """

    def __init__(self, reward: VectorReward, max_entries: int = 100_000) -> None:
        if max_entries < 1:
            raise InputError(f"max_entries must be at least 1, found {max_entries}")
        self.reward = reward
        self.objectives = tuple(reward.objectives)
        self.max_entries = max_entries
        self.hits = 0
        self.misses = 0
        self._rows: OrderedDict[Hashable, Tensor] = OrderedDict()

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]."""
        check_same_length(prompts, completions)
        keys = [
            (text_key(prompt), text_key(completion)) for prompt, completion in zip(prompts, completions, strict=True)
        ]
        if not keys:
            return torch.empty(0, len(self.objectives))
        new: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            if key not in self._rows:
                new.setdefault(key, row)
        self.misses += len(new)
        self.hits += len(keys) - len(new)
        # Rows of this batch are held here, so that evicting while it is stored can't lose one that the batch still needs.
        found: dict[Hashable, Tensor] = {key: self._rows[key] for key in keys if key not in new}
        if new:
            at = list(new.values())
            scores = score_checked(self.reward, [prompts[row] for row in at], [completions[row] for row in at])
            for missed, vector in zip(new, scores.unbind(), strict=True):
                found[missed] = vector.clone()  # a view would keep the whole batch in memory
        for key in keys:
            self._rows[key] = found[key]
            self._rows.move_to_end(key)
        while len(self._rows) > self.max_entries:
            self._rows.popitem(last=False)
        return torch.stack([found[key] for key in keys])

    def clear(self) -> None:
        """Forget everything; the counts start again."""
        self._rows.clear()
        self.hits = self.misses = 0
