"""Reward models that answer with a vector: one named, maximised number per objective for each completion.

    >>> from reward_heads import FunctionReward, rules
    >>> reward = FunctionReward({"brief": rules.brevity, "varied": rules.VocabularyRichness()})
    >>> reward.score(["Tell me a joke."], ["No, no jokes today."])
    tensor([[-4.0000,  0.7500]])

A learned one has the same interface, is trained on pairs and ratings with any label missing, and is saved as an ordinary
sequence-classification model:

    trainer = RewardHeadsTrainer("path/to/causal-lm", RewardHeadsConfig(output_dir="run"), train_dataset=pairs)
    trainer.train()
    trainer.reward.save_pretrained("reward")
    reward = TransformerReward.from_pretrained("reward")

Any of them goes to TRL as named reward functions: `GRPOTrainer(..., reward_funcs=as_reward_funcs(reward))`. Names load on first use, so
`import reward_heads` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_heads import rules
    from reward_heads.accuracy import Accuracy, pairwise_accuracy
    from reward_heads.bradley_terry import BradleyTerryScale, bradley_terry_scale, scale_of_differences
    from reward_heads.cache import CachedReward
    from reward_heads.combine import CombinedReward, NegatedReward, SelectedReward, negated, select
    from reward_heads.cost import pairs_and_flags
    from reward_heads.decorrelate import fit_decorrelation
    from reward_heads.ensemble import EnsembleReward, UncertainReward, score_with_uncertainty
    from reward_heads.functions import FunctionReward, VectorFunctionReward
    from reward_heads.gating import Gate, GatedReward
    from reward_heads.head import Head
    from reward_heads.model import TransformerReward
    from reward_heads.normalizer import NormalizedReward, Normalizer
    from reward_heads.probes import Embedder, ProbeConfig, ProbeReward, fit_probe
    from reward_heads.remote.async_reward import AsyncReward
    from reward_heads.remote.http import HTTPReward
    from reward_heads.remote.judge import PrincipleJudge
    from reward_heads.saved import load_reward, save_reward
    from reward_heads.text import Text
    from reward_heads.training import RewardHeadsTrainer
    from reward_heads.training_config import RewardHeadsConfig
    from reward_heads.transforms import TransformedReward
    from reward_heads.trl_functions import as_reward_funcs
    from reward_heads.users.config import UserGroupsConfig
    from reward_heads.users.fit import fit_user_groups
    from reward_heads.users.groups import UserGroups
    from reward_heads.vector_reward import VectorReward

_HOME = {
    "Accuracy": "accuracy",
    "AsyncReward": "remote.async_reward",
    "BradleyTerryScale": "bradley_terry",
    "CachedReward": "cache",
    "CombinedReward": "combine",
    "Embedder": "probes",
    "EnsembleReward": "ensemble",
    "FunctionReward": "functions",
    "Gate": "gating",
    "GatedReward": "gating",
    "HTTPReward": "remote.http",
    "Head": "head",
    "NegatedReward": "combine",
    "NormalizedReward": "normalizer",
    "Normalizer": "normalizer",
    "PrincipleJudge": "remote.judge",
    "ProbeConfig": "probes",
    "ProbeReward": "probes",
    "RewardHeadsConfig": "training_config",
    "RewardHeadsTrainer": "training",
    "SelectedReward": "combine",
    "Text": "text",
    "TransformedReward": "transforms",
    "TransformerReward": "model",
    "UncertainReward": "ensemble",
    "UserGroups": "users.groups",
    "UserGroupsConfig": "users.config",
    "VectorFunctionReward": "functions",
    "VectorReward": "vector_reward",
    "as_reward_funcs": "trl_functions",
    "bradley_terry_scale": "bradley_terry",
    "fit_decorrelation": "decorrelate",
    "fit_probe": "probes",
    "fit_user_groups": "users.fit",
    "load_reward": "saved",
    "negated": "combine",
    "pairs_and_flags": "cost",
    "pairwise_accuracy": "accuracy",
    "save_reward": "saved",
    "scale_of_differences": "bradley_terry",
    "score_with_uncertainty": "ensemble",
    "select": "combine",
}

__all__ = [
    "Accuracy",
    "AsyncReward",
    "BradleyTerryScale",
    "CachedReward",
    "CombinedReward",
    "Embedder",
    "EnsembleReward",
    "FunctionReward",
    "Gate",
    "GatedReward",
    "HTTPReward",
    "Head",
    "NegatedReward",
    "NormalizedReward",
    "Normalizer",
    "PrincipleJudge",
    "ProbeConfig",
    "ProbeReward",
    "RewardHeadsConfig",
    "RewardHeadsTrainer",
    "SelectedReward",
    "Text",
    "TransformedReward",
    "TransformerReward",
    "UncertainReward",
    "UserGroups",
    "UserGroupsConfig",
    "VectorFunctionReward",
    "VectorReward",
    "as_reward_funcs",
    "bradley_terry_scale",
    "fit_decorrelation",
    "fit_probe",
    "fit_user_groups",
    "load_reward",
    "negated",
    "pairs_and_flags",
    "pairwise_accuracy",
    "rules",
    "save_reward",
    "scale_of_differences",
    "score_with_uncertainty",
    "select",
]


def __getattr__(name: str) -> Any:
    if name == "rules":
        return importlib.import_module("reward_heads.rules")
    if name not in _HOME:
        raise AttributeError(f"module 'reward_heads' has no attribute '{name}'")
    return getattr(importlib.import_module(f"reward_heads.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
