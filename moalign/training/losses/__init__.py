"""One file per family of direct-alignment losses: scores of pairs and labels become one loss per pair.

All of them are called alike, with [`PairScores`] and `[B]` labels, and return `[B]` losses to be minimised:

    >>> import torch
    >>> from moalign.training.losses import PairScores, find_loss
    >>> scores = PairScores(
    ...     policy_a=torch.tensor([-10.0, -10.0]), reference_a=torch.tensor([-12.0, -12.0]),
    ...     policy_b=torch.tensor([-10.0, -10.0]), reference_b=torch.tensor([-8.0, -8.0]),
    ...     scale=torch.tensor([0.25, 0.5]), margin=torch.tensor([0.0, 1.0]),  # per row, as MODPO wants them
    ... )
    >>> scores.difference()
    tensor([1., 1.])
    >>> find_loss("hinge")(scores, torch.tensor([1.0, 0.75]))  # 1: a is better; 0.75: with that probability
    tensor([0.0000, 0.5000])

A loss with `takes_margin = False` is no function of the score difference and refuses margins and scales that differ. Names load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.training.losses.apo import ApoDown, ApoZero
    from moalign.training.losses.base import Loss
    from moalign.training.losses.bco import BcoPair
    from moalign.training.losses.discopop import DiscoPop
    from moalign.training.losses.divergence import (
        DIVERGENCES,
        AlphaDivergence,
        Divergence,
        ForwardKL,
        JensenShannon,
        ReverseKL,
        find_divergence,
    )
    from moalign.training.losses.exo import ExoPair
    from moalign.training.losses.find import LOSSES, find_loss
    from moalign.training.losses.hinge import Hinge
    from moalign.training.losses.ipo import Ipo
    from moalign.training.losses.nca import NcaPair
    from moalign.training.losses.pair_scores import PairScores
    from moalign.training.losses.robust import Robust
    from moalign.training.losses.sigmoid import ConservativeSigmoid, Sigmoid, SigmoidNorm
    from moalign.training.losses.simpo import SimPo
    from moalign.training.losses.sppo import SppoHard

_HOME = {
    "AlphaDivergence": "divergence",
    "ApoDown": "apo",
    "ApoZero": "apo",
    "BcoPair": "bco",
    "ConservativeSigmoid": "sigmoid",
    "DIVERGENCES": "divergence",
    "DiscoPop": "discopop",
    "Divergence": "divergence",
    "ExoPair": "exo",
    "ForwardKL": "divergence",
    "Hinge": "hinge",
    "Ipo": "ipo",
    "JensenShannon": "divergence",
    "LOSSES": "find",
    "Loss": "base",
    "NcaPair": "nca",
    "PairScores": "pair_scores",
    "ReverseKL": "divergence",
    "Robust": "robust",
    "Sigmoid": "sigmoid",
    "SigmoidNorm": "sigmoid",
    "SimPo": "simpo",
    "SppoHard": "sppo",
    "find_divergence": "divergence",
    "find_loss": "find",
}

__all__ = [
    "DIVERGENCES",
    "LOSSES",
    "AlphaDivergence",
    "ApoDown",
    "ApoZero",
    "BcoPair",
    "ConservativeSigmoid",
    "DiscoPop",
    "Divergence",
    "ExoPair",
    "ForwardKL",
    "Hinge",
    "Ipo",
    "JensenShannon",
    "Loss",
    "NcaPair",
    "PairScores",
    "ReverseKL",
    "Robust",
    "Sigmoid",
    "SigmoidNorm",
    "SimPo",
    "SppoHard",
    "find_divergence",
    "find_loss",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"moalign.training.losses.{_HOME[name]}"), name)
    raise AttributeError(f"module 'moalign.training.losses' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
