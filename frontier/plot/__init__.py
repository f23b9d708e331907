"""Draw fronts: `plot_front` writes a picture (PNG), `front_page` an interactive page (one HTML file that works offline)."""

from frontier.plot.page import front_page
from frontier.plot.static import plot_front

__all__ = ["front_page", "plot_front"]
