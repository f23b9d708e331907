"""Remember the keys and values of prompts, so that the next prompt with the same beginning and the same weights computes only its end."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from moalign.serving.cache import SlotCache

BLOCK = 16


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
    def tokens(self) -> int:
        """Positions that are kept."""
        return len(self._blocks) * BLOCK

    def restore(self, weights: Tensor, prompt: Sequence[int], slot: int) -> int:
        """Put the longest known beginning of a prompt into a slot; its length, always less than the prompt's, so that there is a token left to compute.

        Args:
            weights (`Tensor`): `[A]`, what the adapters are mixed with.
            prompt (`Sequence[int]`): token ids.
            slot (`int`): with room for the prompt.
        """
        found = []
        for key in self._keys(weights, prompt, len(prompt) - 1) if self._blocks else ():
            if key not in self._blocks:
                break
            found.append(key)
        if not found:
            return 0
        self._cache.put(slot, [self._blocks[key] for key in found])
        self._touch(found)
        self.reused += len(found) * BLOCK
        return len(found) * BLOCK

    def remember(self, weights: Tensor, prompt: Sequence[int], slot: int) -> None:
        """Keep the whole blocks of a prompt that a slot holds."""
        if not self._most:
            return
        # Of a prompt that is longer than everything kept, the beginning.
        keys = self._keys(weights, prompt, len(prompt))[: self._most]
        for i, key in enumerate(keys):
            if key not in self._blocks:
                self._blocks[key] = self._cache.take(slot, i * BLOCK, (i + 1) * BLOCK)
        self._touch(keys)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()

    def _touch(self, keys: Sequence[bytes]) -> None:
        for key in reversed(keys):
            self._blocks.move_to_end(key)

    @staticmethod
    def _keys(weights: Tensor, prompt: Sequence[int], length: int) -> list[bytes]:
        """One key for each whole block of the first `length` tokens: a digest of the weights and of all tokens up to its end."""
        chain = hashlib.blake2b(weights.to("cpu", torch.float32).contiguous().numpy().tobytes(), digest_size=16)
        tokens = torch.tensor(list(prompt[:length]), dtype=torch.int64).numpy()
        keys = []
        for start, end in pairwise(range(0, length + 1, BLOCK)):
            chain.update(tokens[start:end].tobytes())
            keys.append(chain.digest())
        return keys
