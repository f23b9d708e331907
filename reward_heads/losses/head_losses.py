"""The losses of K heads at once, each with its own kinds for pairs and ratings, and the few numbers that some of them learn."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reward_heads.head import PAIR_LOSSES, RATING_LOSSES, Head
from reward_heads.losses.binary import binary
from reward_heads.losses.bradley_terry import bradley_terry
from reward_heads.losses.davidson import davidson
from reward_heads.losses.huber import huber
from reward_heads.losses.label_noise import robust
from reward_heads.losses.ordinal import ordinal
from reward_heads.losses.outcomes import Outcomes, expected_cost
from reward_heads.losses.rao_kupper import rao_kupper
from reward_heads.losses.squared import squared

SMALLEST_GAP = 1e-4
"""Thresholds never come closer (nats): a level between equal ones would be impossible, and its cost infinite."""


class HeadLosses(nn.Module):
    r"""Predictions and labels of K heads to the loss of each label.

    Tie parameters and the thresholds of ordinal heads are parameters: $\log\theta = \mathrm{softplus}(x)$, $\log\nu = x$, and thresholds are a first one plus a running sum of
    $\mathrm{softplus}(x)$, so that gradient steps keep them in order. They are no part of `state_dict`: hung into a model they are trained with it, and the model's files stay those of
    an ordinary model. [`HeadLosses.heads`] says what was learned.

    Args:
        heads (`Sequence[Head]`): kinds and starting values; a head without pairs or ratings takes `bradley_terry` or `squared` should a label turn up.
        learn_ties (`bool`, *optional*, defaults to `True`): or leave the tie parameters as they are.
        noise (`Sequence[float]`, *optional*): K flip rates of pair labels in [0, 0.5), by default 0.
        correction (`str`, *optional*, defaults to `"unbiased"`): see [`robust`].
        huber_delta (`float`, *optional*, defaults to 1): of `huber`.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        *,
        learn_ties: bool = True,
        noise: Sequence[float] | None = None,
        correction: str = "unbiased",
        huber_delta: float = 1.0,
    ) -> None:
        super().__init__()
        self._given = tuple(heads)
        self.correction, self.huber_delta = correction, huber_delta
        self.noisy = any(noise or ())
        self.register_buffer("noise", torch.tensor(noise or [0.0] * len(self._given)))
        self._kinds: dict[str, list[str]] = {"pairs": [], "ratings": []}
        for what, kinds, default in (("pairs", PAIR_LOSSES, "bradley_terry"), ("ratings", RATING_LOSSES, "squared")):
            for kind in kinds:
                columns = [k for k, head in enumerate(self._given) if (getattr(head, what) or default) == kind]
                if columns:
                    self._kinds[what].append(kind)
                    self.register_buffer(f"{what}_{kind}", torch.tensor(columns))
        ties = torch.tensor([_tie_to_free(head) for head in self._given])
        modelled = any(head.tie is not None for head in self._given)
        self.ties: Tensor
        if modelled and learn_ties:
            self.ties = nn.Parameter(ties)
        else:
            self.register_buffer("ties", ties)
        rows = [torch.tensor(head.thresholds, dtype=torch.float64) for head in self._given if head.thresholds]
        self.thresholds: nn.Parameter | None = nn.Parameter(_thresholds_to_free(rows)) if rows else None
        if rows:
            self.register_buffer("known", torch.tensor([[j < len(row) for j in range(_most(rows))] for row in rows]))

    def forward(self, predictions: Tensor, targets: Tensor, is_pair: Tensor, margins: Tensor | None = None) -> Tensor:
        """The loss of each label.

        Args:
            predictions (`Tensor`): `[B, K]`, score differences (a minus b) in rows of pairs, scores in rows of ratings.
            targets (`Tensor`): `[B, K]`, probabilities that a is better; in rows of ratings standardised ratings, flags, or positions of levels; NaN = missing.
            is_pair (`Tensor`): `[B]` bool.
            margins (`Tensor`, *optional*): `[B, K]`, in nats, >= 0.

        Returns:
            `Tensor`: `[B, K]`; exactly 0, with exactly zero gradient, where the label is missing.
        """
        missing = targets.isnan()
        # Both sides are replaced before the loss: masking a NaN afterwards would leave 0 · NaN = NaN in the gradient.
        predictions = predictions.masked_fill(missing, 0.0)
        targets = targets.masked_fill(missing, 0.0)
        lead = torch.zeros_like(predictions) if margins is None else margins
        # Each row is given to both sides, with labels that the other side can compute with.
        compared = self._by_kind("pairs", predictions, targets.where(is_pair[:, None], 0.0), lead)
        rated = self._by_kind("ratings", predictions, targets.where(~is_pair[:, None], 0.0), lead)
        return torch.where(is_pair[:, None], compared, rated).masked_fill(missing, 0.0)

    def heads(self) -> tuple[Head, ...]:
        """The heads with what has been learned so far."""
        # float64 on the CPU only: not every device has it.
        free = None if self.thresholds is None else self.thresholds.detach().cpu().double()
        thresholds = iter([] if free is None else self._bounds(free).tolist())
        found = []
        for head, tie in zip(self._given, self.ties.detach().cpu().double().tolist(), strict=True):
            row = tuple(next(thresholds)[: len(head.thresholds)]) if head.thresholds else ()
            strength = head.tie if not isinstance(self.ties, nn.Parameter) else _free_to_tie(head, tie)
            found.append(Head(head.pairs, strength, head.ratings, head.levels, row))
        return tuple(found)

    def _by_kind(self, what: str, predictions: Tensor, targets: Tensor, margins: Tensor) -> Tensor:
        """Each kind on its own columns, put together again."""
        kinds = self._kinds[what]
        one = self._pairs if what == "pairs" else self._ratings
        if len(kinds) == 1:
            return one(kinds[0], slice(None), predictions, targets, margins)
        whole = torch.zeros_like(predictions)
        for kind in kinds:
            columns = self.get_buffer(f"{what}_{kind}")
            part = one(kind, columns, predictions[:, columns], targets[:, columns], margins[:, columns])
            whole = whole.index_copy(1, columns, part)
        return whole

    def _pairs(self, kind: str, columns: Any, differences: Tensor, targets: Tensor, margins: Tensor) -> Tensor:
        strength = self.ties[columns]
        outcomes: Outcomes
        if kind == "rao_kupper":
            # A fixed threshold of 1 is minus infinity here, and softplus makes it the 0 that it means.
            outcomes = rao_kupper(differences, F.softplus(strength), margins)
        elif kind == "davidson":
            outcomes = davidson(differences, strength, margins)
        else:
            outcomes = bradley_terry(differences, margins)
        if self.noisy:
            outcomes = robust(outcomes, self.get_buffer("noise")[columns], self.correction)
        return expected_cost(outcomes, targets)

    def _ratings(self, kind: str, columns: Any, scores: Tensor, targets: Tensor, _: Tensor) -> Tensor:
        if kind == "ordinal":
            assert self.thresholds is not None
            return ordinal(scores, targets.long(), self._bounds(self.thresholds.float()))
        if kind == "huber":
            return huber(scores, targets, self.huber_delta)
        return (binary if kind == "binary" else squared)(scores, targets)

    def _bounds(self, free: Tensor) -> Tensor:
        """`[ordinal heads, T]` unconstrained numbers to thresholds, infinite where a head has fewer."""
        steps = torch.cat([free[:, :1], F.softplus(free[:, 1:]) + SMALLEST_GAP], dim=1)
        return steps.cumsum(dim=1).masked_fill(~self.get_buffer("known").to(free.device), torch.inf)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the model that this hangs in is saved as an ordinary one."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Nothing, see above."""


def _tie_to_free(head: Head) -> float:
    if head.tie is None:
        return 0.0
    if head.pairs == "davidson":
        return math.log(head.tie) if head.tie > 0 else -math.inf
    log_threshold = math.log(head.tie)
    return math.log(math.expm1(log_threshold)) if log_threshold > 0 else -math.inf


def _free_to_tie(head: Head, free: float) -> float | None:
    if head.tie is None:
        return None
    return math.exp(free) if head.pairs == "davidson" else math.exp(max(free, 0.0) + math.log1p(math.exp(-abs(free))))


def _most(rows: Sequence[Tensor]) -> int:
    return max(len(row) for row in rows)


def _thresholds_to_free(rows: Sequence[Tensor]) -> Tensor:
    """`[O, T]` unconstrained numbers, 0 where a head has fewer thresholds."""
    free = torch.zeros(len(rows), _most(rows))
    for index, row in enumerate(rows):
        gaps = (row.diff() - SMALLEST_GAP).clamp(min=SMALLEST_GAP / 100)
        free[index, 0] = row[0]
        free[index, 1 : len(row)] = gaps + torch.log(-torch.expm1(-gaps))  # log(exp(gap) − 1), whatever its size
    return free
