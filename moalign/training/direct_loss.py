"""The loss of a batch of pairs at one preference per row, split by objective."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moalign.training.losses import Loss, PairScores
from moalign.training.margins import drawn, margins, shares


@dataclass(frozen=True)
class BatchLoss:
    """What [`batch_loss`] found.

    Args:
        each (`Tensor`): `[B, K]`, every objective's loss times its share; 0 where it has none.
        share (`Tensor`): `[B, K]`, how much each objective counts in a row; sums to 1, or to 0 in a row that is left out.
        difference (`Tensor`): `[B, K]`, $d_k$, the difference that the policy implies for reward k, in nats; detached.
        margin (`Tensor`): `[B, K]`, NaN where not known.
    """

    each: Tensor
    share: Tensor
    difference: Tensor
    margin: Tensor

    @property
    def used(self) -> Tensor:
        """`[B]`: the rows that are not left out."""
        return self.share.sum(1) > 0

    def by_objective(self) -> list[Tensor | None]:
        """K losses whose sum is [`total`]; `None` for an objective that no row trains."""
        rows = self.used.sum()
        known = (self.share > 0).any(0).tolist()
        return [column.sum() / rows if has else None for column, has in zip(self.each.T, known, strict=True)]

    def total(self) -> Tensor:
        """The mean over the rows that are not left out; 0 (with a gradient of 0) if all are."""
        return self.each.sum() / self.used.sum().clamp(min=1)


def batch_loss(
    losses: Sequence[tuple[Loss, float]],
    beta: float,
    policy: Tensor,
    reference: Tensor,
    lengths: Tensor,
    weights: Tensor,
    labels: Tensor,
    differences: Tensor,
    min_weight: float,
    uniform: Tensor | None = None,
) -> BatchLoss:
    """Loss of B pairs under B preferences; the formula is that of `DirectTrainer`.

    Args:
        losses (`Sequence`): what is summed, each with its weight.
        beta (`float`): β.
        policy (`Tensor`): `[B, 2]`, log-probs of a and b.
        reference (`Tensor`): `[B, 2]`, the same under the reference.
        lengths (`Tensor`): `[B, 2]`, tokens of a and b.
        weights (`Tensor`): `[B, K]`, the preferences.
        labels (`Tensor`): `[B, K]`, probability that a is better; NaN = missing.
        differences (`Tensor`): `[B, K]`, reward of a minus reward of b, in nats; NaN = not known.
        min_weight (`float`): the least weight with which an objective is trained on its labels.
        uniform (`Tensor`, *optional*): `[B]` in [0, 1): draw one objective per row by it, instead of the expectation over all.
    """
    margin = margins(weights, differences)
    share = shares(weights, labels, margin, min_weight)
    if uniform is not None:
        share = drawn(share, uniform)
    each, implied = [], []
    for k in range(weights.shape[1]):
        trained = share[:, k] > 0
        # Rows that do not train k get harmless numbers: their loss is multiplied by 0, which would keep a NaN.
        scores = PairScores(
            policy_a=policy[:, 0],
            policy_b=policy[:, 1],
            reference_a=reference[:, 0],
            reference_b=reference[:, 1],
            length_a=lengths[:, 0],
            length_b=lengths[:, 1],
            scale=torch.where(trained, beta / weights[:, k], beta),
            margin=torch.where(trained, margin[:, k], 0.0),
        )
        label = torch.where(trained, labels[:, k], 0.5)
        each.append(share[:, k] * sum(weight * loss(scores, label) for loss, weight in losses))
        implied.append(scores.difference().detach())
    return BatchLoss(torch.stack(each, 1), share, torch.stack(implied, 1), margin)
