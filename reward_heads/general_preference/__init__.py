"""Preferences that run in circles: a model that compares two completions, where no scalar reward can be right.

    from reward_heads.general_preference import GeneralPreferenceModel, fit_preference_model
    from reward_heads.probes import Embedder
    model = fit_preference_model(Embedder.from_pretrained("path/to/encoder"), pairs)
    model.preference(prompts, a, b)  # [B, K], the probability that a is better
    reward = model.as_reward(opponents={prompt: samples_of_the_reference_policy})  # a VectorReward: the win rate against them
    reward.save_pretrained("preference")

The same model on features of any kind, here rock, paper and scissors (a Bradley-Terry model gets at most two of the three orders right):

    >>> import torch
    >>> from reward_heads.general_preference import GeneralPreferenceConfig, fit_general_preference
    >>> a, b = torch.randint(0, 3, (2, 600), generator=torch.Generator().manual_seed(0))
    >>> beats = torch.tensor([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])[a, b]
    >>> model = fit_general_preference(torch.eye(3)[a], torch.eye(3)[b], beats, GeneralPreferenceConfig(blocks=1))
    >>> model.probability(torch.eye(3), torch.eye(3)[[1, 2, 0]]).squeeze(1).round().tolist()  # rock, paper, scissors against the next one
    [0.0, 0.0, 0.0]
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads.general_preference.config import GeneralPreferenceConfig
    from reward_heads.general_preference.fit import fit_general_preference
    from reward_heads.general_preference.game import nash_weights
    from reward_heads.general_preference.model import GeneralPreferenceModel, fit_preference_model
    from reward_heads.general_preference.network import PreferenceNetwork
    from reward_heads.general_preference.reward import GeneralPreferenceReward
    from reward_heads.general_preference.skew import skew_score, win_probability
    from reward_heads.general_preference.transformer import finetune_preference_model

_HOME = {
    "GeneralPreferenceConfig": "config",
    "GeneralPreferenceModel": "model",
    "GeneralPreferenceReward": "reward",
    "PreferenceNetwork": "network",
    "finetune_preference_model": "transformer",
    "fit_general_preference": "fit",
    "fit_preference_model": "model",
    "nash_weights": "game",
    "skew_score": "skew",
    "win_probability": "skew",
}

__all__ = [
    "GeneralPreferenceConfig",
    "GeneralPreferenceModel",
    "GeneralPreferenceReward",
    "PreferenceNetwork",
    "finetune_preference_model",
    "fit_general_preference",
    "fit_preference_model",
    "nash_weights",
    "skew_score",
    "win_probability",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads.general_preference' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.general_preference.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
