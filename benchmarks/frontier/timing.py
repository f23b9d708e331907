"""Time several ways to do the same, in turn, so that a busy machine slows all of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

HOPELESS = 6.0  # a peer that took this many times the fastest peer's first round isn't run again


@dataclass(frozen=True)
class Timing:
    """Seconds of each contender, `[rounds][items]`, in rounds in which all of them ran."""

    seconds: Mapping[str, list[list[float]]]

    def best(self, name: str) -> float:
        """The sum over the items of each one's fastest round: what the code takes when nothing else runs."""
        return sum(min(item) for item in zip(*self.seconds[name], strict=True))

    def fastest(self, but: str) -> str:
        """The fastest contender other than one."""
        return min((name for name in self.seconds if name != but), key=self.best)

    def rounds(self) -> int:
        """How often each ran."""
        return min(len(found) for found in self.seconds.values())

    def quartiles(self, name: str, peer: str) -> list[float]:
        """Of the ratio of two contenders, round by round."""
        pairs = zip(self.seconds[name], self.seconds[peer], strict=True)
        ratios = sorted(sum(a) / sum(b) for a, b in pairs)
        return [ratios[math.floor(0.25 * (len(ratios) - 1))], ratios[math.ceil(0.75 * (len(ratios) - 1))]]


def in_turn(
    contenders: Mapping[str, Callable[[int], object]], items: int, budget: float, own: str, rounds: int = 5
) -> Timing:
    """Run all contenders on all items, again and again.

    Args:
        contenders: by name, at least one beside `own`; each is called with the number of an item.
        items (`int`): how many there are. On one and the same, a processor would learn every branch by heart.
        budget (`float`): seconds after which no new round starts, once there were enough.
        own (`str`): the contender that is always run.
        rounds (`int`, *optional*, defaults to 5): at least so many, 2 when one round takes more than the budget.
    """
    first = {name: _round(call, items) for name, call in contenders.items()}
    fastest = min(sum(found) for name, found in first.items() if name != own)
    left = {name: c for name, c in contenders.items() if name == own or sum(first[name]) <= HOPELESS * fastest}
    # Where a first round takes long, warming up is no part of it, and it counts.
    long = sum(sum(first[name]) for name in left) > budget
    seconds = {name: [first[name]] if long else [] for name in left}
    started, done = perf_counter(), int(long)
    while done < (2 if long else rounds) or perf_counter() - started < (0 if long else budget):
        for name, call in left.items():
            seconds[name].append(_round(call, items))
        done += 1
    return Timing(seconds)


def _round(call: Callable[[int], object], items: int) -> list[float]:
    found = []
    for item in range(items):
        started = perf_counter()
        call(item)
        found.append(perf_counter() - started)
    return found
