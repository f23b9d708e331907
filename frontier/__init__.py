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

A front that keeps its rewards prompt by prompt (`ParetoFront.of_prompt_rewards`) says how sure it is (`interval`, `compare_fronts`, `certify`). `Elicitation` asks a person, `explore` says what to
measure next, `frontier.plot` draws (`plot_front`, `front_page`, ...), `frontier.realize` turns a chosen point into model weights. Names are imported on first use, so
`import frontier` itself is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frontier.choose import Selection, pick
    from frontier.choose.elicit import Elicitation
    from frontier.choose.explore import explore
    from frontier.choose.interpolate import interpolate
    from frontier.compare import compare_fronts
    from frontier.errors import InputError, unknown_name
    from frontier.front import FrontPoint, Hypervolume, ParetoFront, common_reference_point
    from frontier.measure import controllability_gap, eum, hypervolume, mip, non_dominated, reference_point, steering
    from frontier.measure.uncertainty import certify, interval, probability_non_dominated
    from frontier.plot import (
        front_page,
        plot_comparison,
        plot_front,
        plot_history,
        plot_steering,
        plot_ternary,
    )
    from frontier.plot.comparison_page import comparison_page
    from frontier.plot.history_page import history_page
    from frontier.prompt_rewards import PromptRewards

_HOME = {
    "Elicitation": "frontier.choose.elicit",
    "FrontPoint": "frontier.front",
    "Hypervolume": "frontier.front",
    "InputError": "frontier.errors",
    "ParetoFront": "frontier.front",
    "PromptRewards": "frontier.prompt_rewards",
    "Selection": "frontier.choose",
    "certify": "frontier.measure.uncertainty",
    "common_reference_point": "frontier.front",
    "compare_fronts": "frontier.compare",
    "comparison_page": "frontier.plot.comparison_page",
    "controllability_gap": "frontier.measure",
    "eum": "frontier.measure",
    "explore": "frontier.choose.explore",
    "front_page": "frontier.plot",
    "history_page": "frontier.plot.history_page",
    "hypervolume": "frontier.measure",
    "interpolate": "frontier.choose.interpolate",
    "interval": "frontier.measure.uncertainty",
    "mip": "frontier.measure",
    "non_dominated": "frontier.measure",
    "pick": "frontier.choose",
    "plot_comparison": "frontier.plot",
    "plot_front": "frontier.plot",
    "plot_history": "frontier.plot",
    "plot_steering": "frontier.plot",
    "plot_ternary": "frontier.plot",
    "probability_non_dominated": "frontier.measure.uncertainty",
    "reference_point": "frontier.measure",
    "steering": "frontier.measure",
    "unknown_name": "frontier.errors",
}

__all__ = [
    "Elicitation",
    "FrontPoint",
    "Hypervolume",
    "InputError",
    "ParetoFront",
    "PromptRewards",
    "Selection",
    "certify",
    "common_reference_point",
    "compare_fronts",
    "comparison_page",
    "controllability_gap",
    "eum",
    "explore",
    "front_page",
    "history_page",
    "hypervolume",
    "interpolate",
    "interval",
    "mip",
    "non_dominated",
    "pick",
    "plot_comparison",
    "plot_front",
    "plot_history",
    "plot_steering",
    "plot_ternary",
    "probability_non_dominated",
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
