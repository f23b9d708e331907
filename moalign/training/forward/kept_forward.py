"""Train on the very forward that scored the rollout, where TRL would compute the same log-probabilities twice."""

from typing import Any

import torch
from torch import Tensor

LogProbs = tuple[Tensor, Tensor | None, Tensor | None]


class KeptForward:
    """Log-probabilities with their graph, kept from the scoring of a rollout to the one loss that is taken on it.

    A rollout that is used once, whole, by one process needs two forwards of the policy in TRL: one for the old log-probabilities, one for the loss, with the
    same weights. The first serves both here. The ratio of the two is 1 either way, so the update is the same (dropout apart, which TRL draws anew for the second).
    """

    def __init__(self) -> None:
        self._kept: LogProbs | None = None
        self._order: Tensor | None = None

    @staticmethod
    def fits(trainer: Any, rows: int, chunk: int) -> bool:
        """Whether the rollout under way is used once, whole, in this process, and its activations are wanted in memory."""
        args = trainer.args
        once = trainer.num_iterations == 1 and args.steps_per_generation == 1 and rows <= chunk
        return bool(
            args.reuse_rollout_forward and trainer.model.training and once and trainer.accelerator.num_processes == 1
        )

    def keep(self, log_probs: LogProbs) -> Tensor:
        """Keep them; the log-probabilities without their graph."""
        self._kept = log_probs
        return log_probs[0].detach()

    def label(self, batch: dict[str, Any]) -> None:
        """Number the rows of a rollout batch, which TRL shuffles before the loss."""
        if self._kept is not None:
            batch["rollout_row"] = torch.arange(len(self._kept[0]), device=self._kept[0].device)

    def unlabel(self, batch: dict[str, Any]) -> None:
        """Take the numbers out of the batch of a loss again, and remember the order."""
        self._order = batch.pop("rollout_row", None)

    def take(self) -> LogProbs | None:
        """What was kept, in the order of the loss's batch, and only once; `None` where nothing was."""
        kept, self._kept = self._kept, None
        if kept is None or self._order is None:
            return None
        log_probs, entropies, aux_loss = kept
        return log_probs[self._order], None if entropies is None else entropies[self._order], aux_loss
