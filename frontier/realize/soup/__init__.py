"""Search for the soups of several experts that give the best front: the same coefficients in the whole model, or others in every block of layers.

    >>> from frontier.realize.soup import Soup, SoupSpace, search_soups
    >>> space = SoupSpace(("helpful", "brief"), blocks=("layers 0-3", "layers 4-7"))
    >>> def rewards_of(soup):  # what a soup gives; here the first half of the model matters for the one, the second for the other
    ...     return soup.at_place("0")[0], soup.at_place("7")[1]
    >>> front = search_soups(rewards_of, space, objectives=["helpful", "brief"], budget=40, optimizer="improvement", progress=None)
    >>> best = max(front.points, key=lambda point: sum(point.rewards))
    >>> Soup.of_point(best).coefficients
    ((1.0, 0.0), (0.0, 1.0))

- `Experts` reads LoRA folders and finetuned models; `SoupedModel` turns a loaded base into any soup of them, in place and exactly.
- `OPTIMIZERS`: NSGA-II, expected hypervolume improvement with or without botorch, random soups, and linear interpolation.
- `Evaluations` keeps what was measured, so that a killed search goes on.
- `export_lora` and `export_merged` write a soup as a model; `moalign soup` does all of it from the command line.
"""

from frontier.realize.soup.blocks import blocks_of
from frontier.realize.soup.evaluations import Evaluation, Evaluations
from frontier.realize.soup.experts import Experts
from frontier.realize.soup.export import export_lora, export_merged
from frontier.realize.soup.in_place import SoupedModel
from frontier.realize.soup.optimizers import OPTIMIZERS
from frontier.realize.soup.search import search_soups
from frontier.realize.soup.soup import Soup
from frontier.realize.soup.space import SoupSpace

__all__ = [
    "OPTIMIZERS",
    "Evaluation",
    "Evaluations",
    "Experts",
    "Soup",
    "SoupSpace",
    "SoupedModel",
    "blocks_of",
    "export_lora",
    "export_merged",
    "search_soups",
]
