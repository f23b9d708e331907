"""Squared error: the score becomes the mean rating of such a completion."""

from torch import Tensor


def squared(scores: Tensor, ratings: Tensor) -> Tensor:
    r"""$(s - t)^2$ for scores s and standardised ratings t, of any shape."""
    return (scores - ratings).square()
