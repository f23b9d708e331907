"""Draw fronts: pictures for a report (PNG, SVG or PDF, by the suffix) and interactive pages (one HTML file that works offline).

`plot_front` and `front_page` draw what fits the number of objectives. `plot_space`, `plot_ternary`, `plot_parallel` and `plot_steering` draw one view; `plot_comparison` and `comparison_page` two
fronts against each other; `plot_history` and `history_page` an indicator over training.
"""

from frontier.plot.comparison_page import comparison_page
from frontier.plot.history_page import history_page
from frontier.plot.page import front_page
from frontier.plot.static import (
    plot_comparison,
    plot_front,
    plot_history,
    plot_parallel,
    plot_space,
    plot_steering,
    plot_ternary,
)

__all__ = [
    "comparison_page",
    "front_page",
    "history_page",
    "plot_comparison",
    "plot_front",
    "plot_history",
    "plot_parallel",
    "plot_space",
    "plot_steering",
    "plot_ternary",
]
