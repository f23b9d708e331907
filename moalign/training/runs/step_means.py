"""Collect the figures of steps without waiting for the device, and give their means when a line of the log is written."""

from collections.abc import Mapping

import torch
from accelerate.utils import gather
from torch import Tensor

Sums = Mapping[str, tuple[Tensor | float, Tensor | float]]


class StepMeans:
    """Means over steps of the ratio of a sum to a count, each summed over all processes.

    Nothing is read from the device, and no process asks another, until [`take`].

    Args:
        device (`torch.device`): of the figures.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._names: list[tuple[str, ...]] = []
        self._steps: list[Tensor] = []

    def add(self, sums: Sums) -> None:
        """The figures of one step: sum and count of each; steps may have different ones, processes may not."""
        self._names.append(tuple(sums))
        parts = [
            part.detach().to(self.device, torch.float32) if isinstance(part, Tensor) else torch.tensor(float(part))
            for both in sums.values()
            for part in both
        ]
        self._steps.append(torch.stack([part.to(self.device, non_blocking=True) for part in parts]).view(-1, 2))

    def take(self) -> dict[str, float]:
        """The means since the last time; what was counted in no step is left out."""
        if not self._steps:
            return {}
        sizes = [len(step) for step in self._steps]
        table = gather(torch.cat(self._steps).unsqueeze(0)).sum(0).tolist()
        found: dict[str, list[float]] = {}
        row = 0
        for names, size in zip(self._names, sizes, strict=True):
            for name, (total, count) in zip(names, table[row : row + size], strict=True):
                if count:
                    found.setdefault(name, []).append(total / count)
            row += size
        self.clear()
        return {name: sum(values) / len(values) for name, values in found.items()}

    def clear(self) -> None:
        """Forget what was collected."""
        self._names, self._steps = [], []
