"""Time contenders in short rounds, in another order each time."""

import random
from collections.abc import Callable, Mapping
from time import perf_counter


def shuffled_rounds(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, after one round that is not counted.

    The order is drawn anew, so that nobody always follows the same one: what the processor's caches hold then would count as a difference.

    Args:
        contenders: by name.
        rounds (`int`): that are counted.
    """
    names, order = list(contenders), random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds + 1):
        order.shuffle(names)
        for name in names:
            started = perf_counter()
            contenders[name]()
            if i:
                found[name].append(perf_counter() - started)
    return found
