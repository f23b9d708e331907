"""The methods of `moalign train METHOD`. A new one is one line here."""

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from frontier.errors import unknown_name


@dataclass(frozen=True)
class Method:
    """How a method is started.

    Args:
        config (`str`): `module:Class` of its configuration, a `TrainingArguments` dataclass.
        trainer (`str`): `module:name` of a trainer class, `Trainer(model, reward, config, train_dataset, ...)`, or of a function with the same arguments
            that returns the trained `SteerablePolicy`.
        summary (`str`): one sentence for the help.
        data (`str`): what it trains on, `prompts` or `pairs` (preference pairs with a label per objective).
    """

    config: str
    trainer: str
    summary: str
    data: Literal["prompts", "pairs"] = "prompts"

    def load(self) -> tuple[type, Any]:
        """The configuration class and the trainer class or function."""
        return _attribute(self.config), _attribute(self.trainer)


METHODS = {
    "clp": Method(
        "moalign.methods.clp:CLPConfig",
        "moalign.methods.clp:CLPTrainer",
        "One LoRA per objective, mixed by a preference that is sampled per prompt; one run for every trade-off (CLP, arXiv 2407.15762).",
    ),
    "dpa": Method(
        "moalign.methods.dpa:DPAConfig",
        "moalign.methods.dpa:DPATrainer",
        "One policy that is told a direction over the objectives and learns from its own best of n, round by round (DPA, arXiv 2402.18571).",
    ),
    "rewarded_soups": Method(
        "moalign.training.online:OnlineConfig",
        "moalign.methods.rewarded_soups:train_rewarded_soups",
        "One run per objective, mixed only afterwards; the peer to compare with (Rewarded Soups, arXiv 2306.04488).",
    ),
    "modpo": Method(
        "moalign.methods.modpo:MODPOConfig",
        "moalign.methods.modpo:MODPOTrainer",
        "DPO on pairs with a label per objective, with the other rewards as margins; one run for every trade-off (MODPO, arXiv 2310.03708).",
        data="pairs",
    ),
    "maxmin": Method(
        "moalign.methods.maxmin:MaxMinConfig",
        "moalign.methods.maxmin:MaxMinTrainer",
        "One policy for the user group that is worst off, each objective being a group's reward (MaxMin-RLHF, arXiv 2402.08925).",
    ),
    "lagrangian": Method(
        "moalign.methods.lagrangian:LagrangianConfig",
        "moalign.methods.lagrangian:LagrangianTrainer",
        "Maximise some objectives while others are held at thresholds (Safe-RLHF, arXiv 2310.12773; constrained RLHF, arXiv 2310.04373).",
    ),
}


def find_method(name: str) -> Method:
    """The method of this name (dashes count as underscores).

    Raises:
        InputError: there is none; with the nearest name.
    """
    key = name.replace("-", "_")
    if key not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[key]


def _attribute(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
