"""M heads per objective on one trunk: an ensemble at the price of one forward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.cache import CachedReward
from reward_heads.normalizer import Normalizer
from reward_heads.text import Text
from reward_heads.vector_reward import VectorReward, score_checked

SEPARATOR = "#"


def member_names(objectives: Sequence[str], members: int) -> list[str]:
    """The names of the heads: `helpful#1`, `helpful#2`, ..., all members of one objective side by side.

    Args:
        objectives (`Sequence[str]`): K names.
        members (`int`): M, at least 1.

    Raises:
        InputError: a bad name, or no member.

    Example:
        >>> member_names(["helpful", "brief"], 2)
        ['helpful#1', 'helpful#2', 'brief#1', 'brief#2']
    """
    if members < 1:
        raise InputError(f"members must be at least 1, found {members}")
    return [f"{name}{SEPARATOR}{m}" for name in check_objectives(objectives) for m in range(1, members + 1)]


class SharedTrunk:
    """The heads of one reward read as the members of an ensemble, for [`EnsembleReward`].

    Members that are trained on ratings differ a little in what they call one standard deviation; they are put into the average member's unit. Heads that share a trunk also share its
    mistakes: their spread is smaller than that of separate models.

    Args:
        reward (`VectorReward`): M·K objectives with the names of [`member_names`], in any order: a [`TransformerReward`] or a probe trained on [`expand_rows`].

    Raises:
        InputError: a name without its member's number, or an objective that lacks a member.
    """

    def __init__(self, reward: VectorReward) -> None:
        self.reward = reward
        found: dict[str, dict[int, int]] = {}
        for column, head in enumerate(reward.objectives):
            name, _, number = head.rpartition(SEPARATOR)
            if not name or not number.isdecimal() or int(number) < 1:
                raise InputError(
                    f"objective '{head}' is no head of an ensemble: heads are named by member_names(), such as '{head}{SEPARATOR}1'"
                )
            found.setdefault(name, {})[int(number)] = column
        self.objectives = check_objectives(list(found))
        self.size = max(max(columns) for columns in found.values())
        for name, columns in found.items():
            missing = [m for m in range(1, self.size + 1) if m not in columns]
            if missing:
                raise InputError(f"objective '{name}' lacks the head '{name}{SEPARATOR}{missing[0]}' of {self.size}")
        self._columns = torch.tensor([[columns[m] for columns in found.values()] for m in range(1, self.size + 1)])

    def member_scores(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[M, B, K]` float32; one call of the reward."""
        scores = score_checked(self.reward, prompts, completions)[:, self._columns].transpose(0, 1)
        scored = self.reward
        while isinstance(scored, CachedReward):  # scores as its reward does, but has no units of its own
            scored = scored.reward
        units: Normalizer | None = getattr(scored, "units", None)
        if units is None:
            return scores
        units = units.select(self.reward.objectives)
        location, scale = (
            torch.tensor(values, dtype=torch.float64)[self._columns][:, None]
            for values in (units.location, units.scale)
        )
        rated = scores.double() * scale + location
        return ((rated - location.mean(dim=0)) / scale.mean(dim=0)).float()
