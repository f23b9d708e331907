"""Time ways to do the same in turn, so that a busy machine slows all of them, and compare them round by round."""

import statistics
from collections.abc import Callable, Mapping
from time import perf_counter

import torch

Seconds = Mapping[str, list[float]]


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> Seconds:
    """Seconds of each contender in each round; who starts changes from round to round.

    Args:
        contenders: by name.
        rounds (`int`): that are counted.
        warm_up (`int`, *optional*, defaults to 2): rounds before them.
    """
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(warm_up + rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            _wait()
            started = perf_counter()
            contenders[name]()
            _wait()
            if i >= warm_up:
                found[name].append(perf_counter() - started)
    return found


def ratio(seconds: Seconds, name: str, peer: str) -> tuple[float, list[float]]:
    """The median over the rounds of one contender's time over another's, and the quartiles."""
    ratios = [a / b for a, b in zip(seconds[name], seconds[peer], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return middle, [low, high]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
