"""Put rewards together: join several into one vector, keep or reorder some objectives, turn a cost into a reward."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.text import Text
from reward_heads.vector_reward import VectorReward, score_checked


class CombinedReward:
    """Several rewards as one: their objectives side by side, in the order given.

    Args:
        rewards (`Sequence[VectorReward]`): at least one; no two may share an objective.

    Raises:
        InputError: no reward, or an objective that two of them have.
    """

    def __init__(self, rewards: Sequence[VectorReward]) -> None:
        self.rewards = tuple(rewards)
        if not self.rewards:
            raise InputError("a combined reward needs at least one reward, found none")
        owner: dict[str, int] = {}
        for position, reward in enumerate(self.rewards):
            for name in reward.objectives:
                if name in owner:
                    raise InputError(
                        f"objective '{name}' is in reward {owner[name]} and in reward {position} of the combination: "
                        "leave one out with select(), or rename one with negated() or FunctionReward"
                    )
                owner[name] = position
        self.objectives = check_objectives(list(owner))

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]."""
        return torch.cat([score_checked(reward, prompts, completions) for reward in self.rewards], dim=1)


class SelectedReward:
    """Some objectives of a reward, in the order asked for; made by [`select`]."""

    def __init__(self, reward: VectorReward, objectives: Sequence[str]) -> None:
        self.reward = reward
        self.objectives = check_objectives(objectives)
        for name in self.objectives:
            if name not in reward.objectives:
                raise unknown_name("objective", name, reward.objectives)
        self._columns = [reward.objectives.index(name) for name in self.objectives]

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]."""
        return score_checked(self.reward, prompts, completions)[:, self._columns]


def select(reward: VectorReward, objectives: Sequence[str]) -> VectorReward:
    """The reward with these objectives only, in this order.

    Args:
        reward (`VectorReward`): what to choose from.
        objectives (`Sequence[str]`): names of `reward.objectives`, none twice.

    Raises:
        InputError: an unknown name (with the nearest valid one), a repeated name, or none.
    """
    return reward if tuple(objectives) == tuple(reward.objectives) else SelectedReward(reward, objectives)


class NegatedReward:
    """A reward with the sign of some objectives changed; made by [`negated`]."""

    def __init__(self, reward: VectorReward, costs: Mapping[str, str]) -> None:
        for name in costs:
            if name not in reward.objectives:
                raise unknown_name("objective", name, reward.objectives)
        self.reward = reward
        self.costs = dict(costs)
        self.objectives = check_objectives([self.costs.get(name, name) for name in reward.objectives])
        self._signs = torch.tensor([-1.0 if name in costs else 1.0 for name in reward.objectives])

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]."""
        return score_checked(self.reward, prompts, completions) * self._signs


def negated(reward: VectorReward, costs: Sequence[str] | Mapping[str, str] | None = None) -> VectorReward:
    """A cost enters as its negative: change the sign of some objectives, and their names if asked.

    Args:
        reward (`VectorReward`): a "reward" of which some columns are costs (lower is better).
        costs (`Sequence[str]` or `Mapping[str, str]`, *optional*): the columns to negate, by default all; a mapping also renames them:
            `{"toxicity": "harmless"}`.

    Raises:
        InputError: an unknown name (with the nearest valid one), or a new name that is taken.
    """
    if isinstance(costs, str):
        raise InputError(f"costs must be a list of names, found one string: write ['{costs}']")
    names = reward.objectives if costs is None else costs
    return NegatedReward(reward, names if isinstance(names, Mapping) else {name: name for name in names})
