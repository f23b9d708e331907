"""Choose a point of a front: by constraints, an aspiration, a distance, at the knee, or between measured points.

`frontier.choose.elicit` asks a person; `frontier.choose.explore` says which weights to measure next.
"""

from frontier.choose.compromise import compromise_distance
from frontier.choose.interpolate import Interpolation, Interpolator, interpolate
from frontier.choose.select import Selection, pick

__all__ = ["Interpolation", "Interpolator", "Selection", "compromise_distance", "interpolate", "pick"]
