"""Choose a point of a front: by constraints, by an aspiration, or at the knee."""

from frontier.choose.select import Selection, pick

__all__ = ["Selection", "pick"]
