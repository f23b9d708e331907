"""Remember the keys and values of prompts, so that the next prompt with the same beginning and the same weights computes only its end."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import torch
from torch import Tensor

from moalign.serving.cache import SlotCache

BLOCK = 16


@dataclass(frozen=True)
class PrefixKeys:
    """Under what a prompt is remembered: one digest for each whole block, of the weights and of all tokens up to its end.

    Args:
        blocks (`tuple[bytes, ...]`): the digests.
        reusable (`int`): so many of them, at most, leave a token of the prompt to compute.
    """

    blocks: tuple[bytes, ...]
    reusable: int

    @classmethod
    def of(cls, weights: Tensor, prompt: Sequence[int]) -> "PrefixKeys":
        """Read a whole prompt, so keep what this returns.

        Args:
            weights (`Tensor`): `[A]`, what the adapters are mixed with.
            prompt (`Sequence[int]`): token ids.
        """
        chain = hashlib.blake2b(weights.to("cpu", torch.float32).contiguous().numpy().tobytes(), digest_size=16)
        tokens = torch.tensor(list(prompt), dtype=torch.int64).numpy()
        blocks = []
        for start, end in pairwise(range(0, len(prompt) + 1, BLOCK)):
            chain.update(tokens[start:end].tobytes())
            blocks.append(chain.digest())
        return cls(tuple(blocks), (len(prompt) - 1) // BLOCK)


class PrefixStore:
    """The least recently used blocks of prompts are forgotten first; a block that several prompts share is kept once.

    A block is found by its tokens, all tokens before it and the weights, exactly as float32 bits: keys and values depend on the weights from the
    first layer on, so nothing is ever shared between different ones. What is reused are the very numbers that were computed before, up to the
    rounding of another batch. Who can time answers can tell that somebody asked with the same beginning and weights; 0 tokens turn it off.

    Args:
        cache (`SlotCache`): that rows live in.
        max_tokens (`int`): kept at most.
    """

    def __init__(self, cache: SlotCache, max_tokens: int) -> None:
        self._cache = cache
        self._most = max_tokens // BLOCK
        # In order of use. A block is touched together with all before it and ahead of them, so the first is always the end of its chain.
        self._blocks: OrderedDict[bytes, list[Tensor]] = OrderedDict()
        self.reused = 0

    @property
    def on(self) -> bool:
        """Whether anything is ever kept."""
        return self._most > 0

    @property
    def tokens(self) -> int:
        """Positions that are kept."""
        return len(self._blocks) * BLOCK

    def known(self, keys: PrefixKeys) -> int:
        """Length of the longest known beginning of a prompt, always less than the prompt's, so that there is a token left to compute."""
        return len(self._found(keys)) * BLOCK

    def restore(self, keys: PrefixKeys, slot: int) -> int:
        """Put what is `known` of a prompt into a slot with room for it; its length."""
        found = self._found(keys)
        if not found:
            return 0
        self._cache.put(slot, [self._blocks[key] for key in found])
        self._touch(found)
        self.reused += len(found) * BLOCK
        return len(found) * BLOCK

    def remember(self, keys: PrefixKeys, slot: int) -> None:
        """Keep the whole blocks of a prompt that a slot holds."""
        if not self._most:
            return
        # Of a prompt that is longer than everything kept, the beginning.
        kept = keys.blocks[: self._most]
        for i, key in enumerate(kept):
            if key not in self._blocks:
                self._blocks[key] = self._cache.take(slot, i * BLOCK, (i + 1) * BLOCK)
        self._touch(kept)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()

    def _touch(self, keys: Sequence[bytes]) -> None:
        for key in reversed(keys):
            self._blocks.move_to_end(key)

    def _found(self, keys: PrefixKeys) -> Sequence[bytes]:
        return tuple(takewhile(self._blocks.__contains__, keys.blocks[: keys.reusable]))
