"""Give a vector reward to TRL: K named reward functions that share one scoring of each batch."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from reward_heads.text import Text, text_key
from reward_heads.vector_reward import VectorReward, score_checked

RewardFunc = Callable[..., list[float | None]]


def as_reward_funcs(reward: VectorReward) -> list[RewardFunc]:
    """One reward function per objective in the signature of TRL's GRPO and RLOO trainers.

    TRL calls the functions one after the other with the same batch, so the last batch's scores are kept (recognised by content) and the K
    functions cost one scoring, not K. TRL logs each under its `__name__`, here the objective's name.

    Args:
        reward (`VectorReward`): K objectives.

    Returns:
        `list[Callable]`: K functions `f(prompts, completions, **kwargs) -> list[float | None]`, in the order of `reward.objectives`;
        `None` where the score is not known (TRL turns it into NaN).

    Example:
        >>> from reward_heads import FunctionReward, rules
        >>> brief, rich = as_reward_funcs(FunctionReward({"brief": rules.brevity, "rich": rules.VocabularyRichness()}))
        >>> brief.__name__, brief(prompts=["Hi"], completions=["Well hello."]), rich(prompts=["Hi"], completions=[""])
        ('brief', [-2.0], [None])
    """
    last = _LastBatch(reward)
    return [_column(last, column, name) for column, name in enumerate(reward.objectives)]


class _LastBatch:
    """The scores of the batch that was asked for last."""

    def __init__(self, reward: VectorReward) -> None:
        self.reward = reward
        # One attribute holding key and scores, replaced at once: a thread that reads it sees a matching pair.
        self._memo: tuple[Hashable, list[list[float | None]]] | None = None

    def columns(self, prompts: Sequence[Text], completions: Sequence[Text]) -> list[list[float | None]]:
        key = tuple(map(text_key, prompts)), tuple(map(text_key, completions))
        memo = self._memo
        if memo is None or memo[0] != key:
            scores = score_checked(self.reward, prompts, completions)
            known = [[None if value != value else value for value in column] for column in scores.T.tolist()]
            memo = self._memo = (key, known)
        return memo[1]


def _column(last: _LastBatch, column: int, name: str) -> RewardFunc:
    def reward_func(prompts: list[Text], completions: list[Text], **kwargs: Any) -> list[float | None]:
        return list(last.columns(prompts, completions)[column])

    reward_func.__name__ = reward_func.__qualname__ = name
    reward_func.__doc__ = f"The score of objective '{name}' for each completion; None = not known."
    return reward_func
