"""Alignment problems whose best answer is known exactly: train any method in one and see what fraction of the possible gain it reaches.

    >>> import torch
    >>> from moalign.oracle import OracleWorld
    >>> world = OracleWorld.covered(vocabulary=3, length=3, prompts=2)
    >>> best = world.optimum("helpful=0.7,brief=0.3", beta=0.3)
    >>> abs(world.gain(world.model(), "helpful=0.7,brief=0.3", beta=0.3)) < 1e-4  # the reference: nothing gained yet (float32)
    True
    >>> round(world.gain(best.log_probs, "helpful=0.7,brief=0.3", beta=0.3), 6)
    1.0
    >>> pairs = world.sample_pairs(100, generator=torch.Generator().manual_seed(0))  # for offline trainers
    >>> world.reward.score([pairs[0]["prompt"]], [pairs[0]["completion_a"]]).shape  # for online ones
    torch.Size([1, 3])

A trainer starts from `world.save(folder)`, an ordinary model folder; whatever it leaves goes to `world.gain`. In `OracleWorld.covered()` data from the
reference can show the optimum; in `OracleWorld.rare()` they cannot, and only exploring finds it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.oracle.best_of import best_of_n
    from moalign.oracle.config import WorldConfig
    from moalign.oracle.constrained import Bound, Constrained
    from moalign.oracle.groups import MaxMin
    from moalign.oracle.measure import Measurement
    from moalign.oracle.optimum import Optimum
    from moalign.oracle.table_reward import TableReward
    from moalign.oracle.world import OracleWorld

_HOME = {
    "Bound": "constrained",
    "Constrained": "constrained",
    "MaxMin": "groups",
    "Measurement": "measure",
    "Optimum": "optimum",
    "OracleWorld": "world",
    "TableReward": "table_reward",
    "WorldConfig": "config",
    "best_of_n": "best_of",
}

__all__ = [
    "Bound",
    "Constrained",
    "MaxMin",
    "Measurement",
    "Optimum",
    "OracleWorld",
    "TableReward",
    "WorldConfig",
    "best_of_n",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"moalign.oracle.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
