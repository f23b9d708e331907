"""How often a reward ranks two completions as the labels do."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.examples import read_examples
from reward_heads.vector_reward import VectorReward, score_checked


class Accuracy(NamedTuple):
    """Agreement with `n` labels; NaN when `n` is 0."""

    accuracy: float
    n: int


def pairwise_accuracy(reward: VectorReward, pairs: Iterable[Mapping[str, Any]]) -> dict[str, Accuracy]:
    """The fraction of labelled pairs that a reward ranks as labelled, per objective.

    Equal scores count half. Pairs without a label (or labelled a tie, 0.5) or with a score that is not known are left out of that
    objective. Labels of objectives that the reward doesn't have are ignored.

    Args:
        reward (`VectorReward`): what to judge.
        pairs (`Iterable[Mapping]`): rows with `prompt`, `completion_a`, `completion_b`, `labels`.

    Returns:
        `dict[str, Accuracy]`: `(accuracy, n)` for every objective of the reward.

    Raises:
        InputError: a row is broken, or is a rating.
    """
    examples = read_examples(pairs, reward.objectives, what="pairs", ignore_others=True)
    firsts, seconds = [], []
    for number, example in enumerate(examples):
        if example.other is None:
            raise InputError(f"pairs, row {number}: is a rating, which compares nothing")
        firsts.append(example.completion)
        seconds.append(example.other)
    prompts = [example.prompt for example in examples]
    scores = score_checked(reward, prompts * 2, firsts + seconds)
    differences = scores[: len(examples)] - scores[len(examples) :]
    targets = torch.tensor([example.targets for example in examples]).reshape(len(examples), len(reward.objectives))
    return dict(zip(reward.objectives, agreement(differences, targets), strict=True))


def agreement(differences: Tensor, targets: Tensor) -> list[Accuracy]:
    """Accuracy of each column.

    Args:
        differences (`Tensor`): `[B, K]` score of a minus score of b; NaN = not known.
        targets (`Tensor`): `[B, K]` probability that a is better; NaN = missing, 0.5 = no order.
    """
    counted = ~(differences.isnan() | targets.isnan() | (targets == 0.5))
    right = 0.5 + 0.5 * differences.sign() * (targets - 0.5).sign()
    n = counted.sum(dim=0)
    total = right.where(counted, torch.zeros(())).sum(dim=0)
    return [Accuracy(t / m if m else math.nan, m) for t, m in zip(total.tolist(), n.tolist(), strict=True)]
