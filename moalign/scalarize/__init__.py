"""One file per scalarizer: a reward vector and a preference become one signal.

All of them are called alike, with `[..., K]` rewards (NaN = not known) and `[..., K]` weights, and return `[...]` numbers to be maximised:

    >>> import torch
    >>> from moalign.scalarize import Aspiration, Linear
    >>> rewards, weights = torch.tensor([[1.0, -1.0], [0.0, 0.0]]), torch.tensor([0.5, 0.5]).expand(2, 2)
    >>> Linear()(rewards, weights)  # the two trade off evenly ...
    tensor([0., 0.])
    >>> Aspiration(torch.zeros(2))(rewards, weights)  # ... but only the second misses no wish
    tensor([-0.5000,  0.0000])

`MaxMin` and `Lagrangian` are stateful: a learner calls `observe` after each batch and keeps `state` in its checkpoints. `GradientAggregation` takes the objectives' losses
instead of their rewards. Names load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moalign.scalarize.aspiration import Aspiration
    from moalign.scalarize.base import Scalarizer, StatefulScalarizer
    from moalign.scalarize.gradient_aggregation import Conflict, GradientAggregation, measure_conflict
    from moalign.scalarize.group_normalisation import (
        GroupNormalised,
        gdpo_advantages,
        grpo_advantages,
        mo_grpo_advantages,
    )
    from moalign.scalarize.lagrangian import Constraint, Lagrangian
    from moalign.scalarize.linear import Linear
    from moalign.scalarize.max_min import MaxMin, soft_min
    from moalign.scalarize.smooth_tchebycheff import SmoothTchebycheff

_HOME = {
    "Aspiration": "aspiration",
    "Conflict": "gradient_aggregation",
    "Constraint": "lagrangian",
    "GradientAggregation": "gradient_aggregation",
    "GroupNormalised": "group_normalisation",
    "Lagrangian": "lagrangian",
    "Linear": "linear",
    "MaxMin": "max_min",
    "Scalarizer": "base",
    "SmoothTchebycheff": "smooth_tchebycheff",
    "StatefulScalarizer": "base",
    "gdpo_advantages": "group_normalisation",
    "grpo_advantages": "group_normalisation",
    "measure_conflict": "gradient_aggregation",
    "mo_grpo_advantages": "group_normalisation",
    "soft_min": "max_min",
}

__all__ = [
    "Aspiration",
    "Conflict",
    "Constraint",
    "GradientAggregation",
    "GroupNormalised",
    "Lagrangian",
    "Linear",
    "MaxMin",
    "Scalarizer",
    "SmoothTchebycheff",
    "StatefulScalarizer",
    "gdpo_advantages",
    "grpo_advantages",
    "measure_conflict",
    "mo_grpo_advantages",
    "soft_min",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"moalign.scalarize.{_HOME[name]}"), name)
    raise AttributeError(f"module 'moalign.scalarize' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
