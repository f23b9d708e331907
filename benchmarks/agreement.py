"""Whether results agree, so that a broken one can never pass for a good one."""

import math
from collections.abc import Iterable


def worst_of(errors: Iterable[float]) -> float:
    """The largest error; infinite where one is not finite or there is none, which Python's `max` would pass over."""
    found = [float(error) for error in errors]
    return max(found) if found and all(map(math.isfinite, found)) else math.inf
