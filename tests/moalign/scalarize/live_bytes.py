"""Counts the bytes of the tensors that are made inside a context and still alive."""

import weakref
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """The most bytes at once that anything made inside, also by a backward pass on the CPU, held: `peak`."""

    def __init__(self, *known):
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._holders = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._hold(storage._cdata, storage.nbytes())
                    weakref.finalize(tensor, self._drop, storage._cdata, storage.nbytes())
        return made

    def _hold(self, key, size):
        if not self._holders[key]:
            self.now += size
            self.peak = max(self.peak, self.now)
        self._holders[key] += 1

    def _drop(self, key, size):
        self._holders[key] -= 1
        if not self._holders[key]:
            self.now -= size
