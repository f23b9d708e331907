"""Measure, choose and draw trade-offs between objectives: Pareto tools on plain arrays.

Every objective is maximised. The shortest useful program:

    >>> from frontier import FrontPoint, ParetoFront, pick
    >>> front = ParetoFront(
    ...     ("helpful", "brief"),
    ...     tuple(
    ...         FrontPoint(rewards, (0.02, 0.02), n_prompts=64, preference={"weights": {"helpful": w, "brief": 1 - w}})
    ...         for w, rewards in [(0.0, (0.1, 1.0)), (0.5, (0.8, 0.7)), (1.0, (1.0, 0.0))]
    ...     ),
    ... )
    >>> print(front.table())
       #  w(helpful)  w(brief)        helpful          brief  prompts
    *  0        0.00      1.00  0.100 ± 0.020  1.000 ± 0.020       64
    *  1        0.50      0.50  0.800 ± 0.020  0.700 ± 0.020       64
    *  2        1.00      0.00  1.000 ± 0.020  0.000 ± 0.020       64
    >>> pick(front, minimum={"brief": 0.5}, maximize="helpful").index
    1

`frontier.plot` draws a front (`plot_front`, `front_page`); `frontier.realize` turns a chosen point into model weights. Names are imported on first use, so
`import frontier` itself is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frontier.choose import Selection, pick
    from frontier.errors import InputError, unknown_name
    from frontier.front import FrontPoint, Hypervolume, ParetoFront, common_reference_point
    from frontier.measure import controllability_gap, eum, hypervolume, mip, non_dominated, reference_point, steering
    from frontier.plot import front_page, plot_front

_HOME = {
    "FrontPoint": "frontier.front",
    "Hypervolume": "frontier.front",
    "InputError": "frontier.errors",
    "ParetoFront": "frontier.front",
    "Selection": "frontier.choose",
    "common_reference_point": "frontier.front",
    "controllability_gap": "frontier.measure",
    "eum": "frontier.measure",
    "front_page": "frontier.plot",
    "hypervolume": "frontier.measure",
    "mip": "frontier.measure",
    "non_dominated": "frontier.measure",
    "pick": "frontier.choose",
    "plot_front": "frontier.plot",
    "reference_point": "frontier.measure",
    "steering": "frontier.measure",
    "unknown_name": "frontier.errors",
}

__all__ = [
    "FrontPoint",
    "Hypervolume",
    "InputError",
    "ParetoFront",
    "Selection",
    "common_reference_point",
    "controllability_gap",
    "eum",
    "front_page",
    "hypervolume",
    "mip",
    "non_dominated",
    "pick",
    "plot_front",
    "reference_point",
    "steering",
    "unknown_name",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'frontier' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
