"""Train one language model that can be steered between objectives, see its Pareto front, pick a point, serve it.

A preference says what a user wants; everything here takes it in the same form:

    >>> from moalign import Preference
    >>> Preference.parse("helpful=0.7,brief=0.3").to_json()
    {'weights': {'helpful': 0.7, 'brief': 0.3}}

The shortest useful program (not run here: it needs a model and two reward heads):

    from moalign import CLPConfig, CLPTrainer, SteerablePolicy
    from reward_heads import TransformerReward

    reward = TransformerReward.from_pretrained("runs/reward")  # objectives: helpful, brief
    trainer = CLPTrainer("my-base-model", reward, CLPConfig(output_dir="runs/clp", max_steps=200), train_dataset=prompts)
    trainer.train()
    trainer.save_model()

    policy = SteerablePolicy.from_pretrained("runs/clp")
    policy.generate(["Hi!", "Hi!"], ["helpful=1.0", "helpful=0.3,brief=0.7"], max_new_tokens=40)

The same from a shell: `moalign train clp`, `moalign front`, `moalign pick`, `moalign serve`. Names load on first use, so `import moalign` itself is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frontier.errors import InputError
    from moalign.constraint_report import ConstraintReport
    from moalign.data import read_pairs, read_prompts, read_ratings, read_records
    from moalign.evaluation import front_of, measure_front, measure_normalizer
    from moalign.methods.clp import CLPConfig, CLPTrainer
    from moalign.methods.dpa import DPAConfig, DPATrainer
    from moalign.methods.lagrangian import LagrangianConfig, LagrangianTrainer
    from moalign.methods.maxmin import MaxMinConfig, MaxMinTrainer
    from moalign.methods.modpo import MODPOConfig, MODPOTrainer
    from moalign.methods.rewarded_soups import train_rewarded_soups
    from moalign.policy import SteerablePolicy
    from moalign.preference import Preference, lattice
    from moalign.training.direct import DirectConfig, DirectTrainer
    from moalign.training.implicit_reward import ImplicitReward
    from moalign.training.online import OnlineConfig, OnlineTrainer
    from moalign.training.rejection import RejectionTrainer
    from moalign.training.rejection_config import RejectionConfig

    __version__: str

_HOME = {
    "CLPConfig": "moalign.methods.clp",
    "CLPTrainer": "moalign.methods.clp",
    "ConstraintReport": "moalign.constraint_report",
    "DirectConfig": "moalign.training.direct",
    "DirectTrainer": "moalign.training.direct",
    "ImplicitReward": "moalign.training.implicit_reward",
    "DPAConfig": "moalign.methods.dpa",
    "DPATrainer": "moalign.methods.dpa",
    "InputError": "frontier.errors",
    "LagrangianConfig": "moalign.methods.lagrangian",
    "LagrangianTrainer": "moalign.methods.lagrangian",
    "MaxMinConfig": "moalign.methods.maxmin",
    "MaxMinTrainer": "moalign.methods.maxmin",
    "MODPOConfig": "moalign.methods.modpo",
    "MODPOTrainer": "moalign.methods.modpo",
    "OnlineConfig": "moalign.training.online",
    "OnlineTrainer": "moalign.training.online",
    "Preference": "moalign.preference",
    "RejectionConfig": "moalign.training.rejection_config",
    "RejectionTrainer": "moalign.training.rejection",
    "SteerablePolicy": "moalign.policy",
    "front_of": "moalign.evaluation",
    "lattice": "moalign.preference",
    "measure_front": "moalign.evaluation",
    "measure_normalizer": "moalign.evaluation",
    "read_pairs": "moalign.data",
    "read_prompts": "moalign.data",
    "read_ratings": "moalign.data",
    "read_records": "moalign.data",
    "train_rewarded_soups": "moalign.methods.rewarded_soups",
}

__all__ = [
    "CLPConfig",
    "CLPTrainer",
    "ConstraintReport",
    "DPAConfig",
    "DPATrainer",
    "DirectConfig",
    "DirectTrainer",
    "ImplicitReward",
    "InputError",
    "LagrangianConfig",
    "LagrangianTrainer",
    "MODPOConfig",
    "MODPOTrainer",
    "MaxMinConfig",
    "MaxMinTrainer",
    "OnlineConfig",
    "OnlineTrainer",
    "Preference",
    "RejectionConfig",
    "RejectionTrainer",
    "SteerablePolicy",
    "__version__",
    "front_of",
    "lattice",
    "measure_front",
    "measure_normalizer",
    "read_pairs",
    "read_prompts",
    "read_ratings",
    "read_records",
    "train_rewarded_soups",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("moalign")
    raise AttributeError(f"module 'moalign' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
