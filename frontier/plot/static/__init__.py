"""Draw pictures for a report or a paper: PNG, SVG and PDF, readable in black and white and with a colour vision deficiency.

The shortest useful program:

    >>> import tempfile
    >>> from frontier import FrontPoint, ParetoFront
    >>> from frontier.plot.static import plot_front
    >>> points = tuple(FrontPoint(rewards, (0.02, 0.02), n_prompts=64) for rewards in [(0.1, 1.0), (0.8, 0.7), (1.0, 0.0)])
    >>> picture = plot_front(ParetoFront(("helpful", "brief"), points), f"{tempfile.mkdtemp()}/front.svg", iso={"helpful": 0.7, "brief": 0.3})
    >>> picture.name
    'front.svg'

`plot_front`: any number of objectives · `plot_space`: three in space · `plot_parallel`: many · `plot_ternary`: weights of three · `plot_steering`: each reward against each weight ·
`plot_history`: an indicator over training · `plot_comparison`: two fronts.
"""

from frontier.plot.static.comparison import plot_comparison
from frontier.plot.static.front import plot_front
from frontier.plot.static.history import plot_history
from frontier.plot.static.parallel import plot_parallel
from frontier.plot.static.sheet import INK
from frontier.plot.static.space import plot_space
from frontier.plot.static.steering import plot_steering
from frontier.plot.static.ternary import plot_ternary

__all__ = [
    "INK",
    "plot_comparison",
    "plot_front",
    "plot_history",
    "plot_parallel",
    "plot_space",
    "plot_steering",
    "plot_ternary",
]
