"""The one interface of every reward in the project: score completions, one named number per objective.

Conventions: `[B, K]` float32 on the CPU in the order of `objectives`; always maximised (a cost enters as its negative); NaN = not known.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.text import Text, check_same_length


@runtime_checkable
class VectorReward(Protocol):
    """Anything that scores completions on several named objectives at once."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """The K names, in the order of the columns of `score`."""

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """Score `B` completions of `B` prompts.

        Args:
            prompts (`Sequence[Text]`): `B` prompts, standard or conversational.
            completions (`Sequence[Text]`): `B` completions, one for each prompt.

        Returns:
            `Tensor`: `[B, K]` float32 on the CPU, higher is better, NaN where an objective is not known.
        """


def score_checked(reward: VectorReward, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
    """`reward.score`, with its contract enforced: shape `[B, K]`, float32, CPU, no infinities.

    Raises:
        InputError: the batch does not pair up, or the reward broke the contract; the message names the objective.
    """
    check_same_length(prompts, completions)
    scores = reward.score(prompts, completions)
    expected = (len(prompts), len(reward.objectives))
    if tuple(scores.shape) != expected:
        raise InputError(f"{type(reward).__name__}.score must return {list(expected)}, found {list(scores.shape)}")
    scores = scores.detach().to("cpu", torch.float32)
    if scores.isinf().any():
        row, column = scores.isinf().nonzero()[0].tolist()
        raise InputError(
            f"objective '{reward.objectives[column]}' is {scores[row, column].item()} in row {row}: "
            "a score must be finite, or NaN when it is not known"
        )
    return scores
