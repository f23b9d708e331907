"""Several opinions instead of one: a conservative reward, and how far it can be trusted, from members that disagree where they are guessing.

    from reward_heads.ensemble import EnsembleReward, SharedTrunk, expand_rows, member_names, score_with_uncertainty
    reward = EnsembleReward.measured([first, second, third], prompts, completions, combine="worst")  # full members, brought to one scale
    config = RewardHeadsConfig(objectives=member_names(["helpful", "brief"], 5), ...)
    trainer = RewardHeadsTrainer(base, config, expand_rows(rows, 5))  # five heads an objective on one trunk, each with its own half of the rows
    trainer.train()
    reward = EnsembleReward(SharedTrunk(trainer.reward), combine="uncertainty_weighted", penalty=0.5)  # one forward pass
    scores, std = score_with_uncertainty(reward, prompts, completions)  # works for any reward; NaN where nobody knows

With programmed members:

    >>> from reward_heads import FunctionReward
    >>> from reward_heads.ensemble import EnsembleReward
    >>> members = [FunctionReward({"brief": lambda p, c, unit=unit: -len(c) / unit}) for unit in (1.0, 2.0)]
    >>> EnsembleReward(members, combine="worst", scales="shared").score(["Ask."], ["four"])
    tensor([[-4.]])
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.ensemble.bootstrap import expand_rows
    from reward_heads.ensemble.combine import combine_members, member_std
    from reward_heads.ensemble.ensemble import EnsembleReward
    from reward_heads.ensemble.shared_trunk import SharedTrunk, member_names
    from reward_heads.ensemble.uncertain import UncertainReward, score_with_uncertainty

_HOME = {
    "EnsembleReward": "ensemble",
    "SharedTrunk": "shared_trunk",
    "UncertainReward": "uncertain",
    "combine_members": "combine",
    "expand_rows": "bootstrap",
    "member_names": "shared_trunk",
    "member_std": "combine",
    "score_with_uncertainty": "uncertain",
}

__all__ = [
    "EnsembleReward",
    "SharedTrunk",
    "UncertainReward",
    "combine_members",
    "expand_rows",
    "member_names",
    "member_std",
    "score_with_uncertainty",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.ensemble' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.ensemble.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
