"""What held-out labels say of each head, in the terms of what it was taught."""

from collections.abc import Sequence

import torch
from torch import Tensor

from reward_heads.accuracy import agreement
from reward_heads.head import Head
from reward_heads.losses.bradley_terry import bradley_terry
from reward_heads.losses.davidson import davidson
from reward_heads.losses.outcomes import Outcomes
from reward_heads.losses.rao_kupper import rao_kupper


def evaluation_metrics(
    predictions: Tensor, targets: Tensor, is_pair: Tensor, objectives: Sequence[str], heads: Sequence[Head]
) -> dict[str, float]:
    """The figures of one evaluation.

    Args:
        predictions (`Tensor`): `[N, K]`, score differences in rows of pairs, scores in rows of ratings.
        targets (`Tensor`): `[N, K]`, as the losses have them; NaN = missing.
        is_pair (`Tensor`): `[N]` bool.
        objectives (`Sequence[str]`): K.
        heads (`Sequence[Head]`): K.

    Returns:
        `dict`, for the objectives that have such labels: `accuracy/NAME` of pairs (ties left out, equal scores count half); `outcome_accuracy/NAME` where ties are modelled: how often the
        likeliest of "a", "b" and "tie" is the label; `mse/NAME` of ratings, in standard deviations squared; `sign_accuracy/NAME` of flags; `level_accuracy/NAME` (the likeliest level is
        the right one) and `level_error/NAME` (mean distance of the expected rating, in the data's units) of ordinal ratings.
    """
    metrics = {}
    for k, (name, head) in enumerate(zip(objectives, heads, strict=True)):
        known = ~targets[:, k].isnan()
        pairs, ratings = is_pair & known, ~is_pair & known
        (found,) = agreement(predictions[pairs, k, None], targets[pairs, k, None])
        if found.n:
            metrics[f"accuracy/{name}"] = found.accuracy
        if head.tie and pairs.any():
            metrics[f"outcome_accuracy/{name}"] = _outcome_accuracy(predictions[pairs, k], targets[pairs, k], head)
        if ratings.any():
            metrics |= _rating_metrics(predictions[ratings, k], targets[ratings, k], name, head)
    return metrics


def _outcomes(head: Head, differences: Tensor) -> Outcomes:
    """What each outcome of pairs costs a head, by its score differences."""
    if head.pairs == "rao_kupper":
        return rao_kupper(differences, torch.tensor(head.tie).log())
    if head.pairs == "davidson":
        return davidson(differences, torch.tensor(head.tie).log())
    return bradley_terry(differences)


def _outcome_accuracy(differences: Tensor, labels: Tensor, head: Head) -> float:
    outcomes = _outcomes(head, differences)
    assert outcomes.tie is not None
    likeliest = torch.stack([outcomes.second, outcomes.tie, outcomes.first]).argmin(dim=0) - 1  # -1 b, 0 tie, 1 a
    return (likeliest == (labels - 0.5).sign()).float().mean().item()


def _rating_metrics(scores: Tensor, targets: Tensor, name: str, head: Head) -> dict[str, float]:
    if head.sign_aware:
        (sign,) = agreement(scores[:, None], targets[:, None])
        return {f"sign_accuracy/{name}": sign.accuracy} if sign.n else {}
    if head.ratings == "ordinal":
        right = head.level_probabilities(scores).argmax(dim=-1) == targets
        truth = torch.tensor(head.levels)[targets.long()]
        error = (head.expected_rating(scores) - truth).abs().mean().item()
        return {f"level_accuracy/{name}": right.float().mean().item(), f"level_error/{name}": error}
    return {f"mse/{name}": (scores - targets).square().mean().item()}
