"""Exact hypervolume and the non-dominated filter against the faster of moocore and pygmo."""

import importlib.util
from collections.abc import Callable
from typing import Any

import moocore
import numpy as np

from benchmarks.frontier.context import Context
from benchmarks.frontier.timing import Timing, in_turn
from benchmarks.report import Row, at_most
from frontier.measure import hypervolume, non_dominated

BAR = 1.2
SIZES = [(n, m) for n in (100, 1_000, 10_000) for m in range(2, 7)] + [(200, 8)]
# moocore's hypervolume takes minutes there, and pygmo's sorting, the only filter it has for 3 and more objectives, takes seconds and gigabytes.
TOO_LONG = {("hv", "moocore"): {(10_000, 6), (200, 8)}, ("nd", "pygmo"): {(10_000, m) for m in range(3, 7)}}
Front = np.ndarray[Any, Any]


def rows(context: Context) -> list[Row]:
    """One row for each size and task: the worse of two shapes, a front without dominated points and a cloud."""
    sizes = [(100, m) for m in range(2, 7)] if context.quick else SIZES
    return [_row(task, n, m, 0.05 if context.quick else 1.5) for task in ("hv", "nd") for n, m in sizes]


def _row(task: str, n: int, m: int, budget: float) -> Row:
    work = {"hv": "hypervolume", "nd": "non-dominated filter"}[task]
    alone = [name for (what, name), sizes in TOO_LONG.items() if what == task and (n, m) in sizes]
    if not _peers(task, n, m):
        why = f"left out: {alone[0]} takes too long and no other peer is installed"
        return Row(f"{task}.{n}.{m}.ratio", f"{work} of {n} points in {m} objectives, {why}", None, "times")
    timings = {shape: _timed(task, draw, n, m, budget) for shape, draw in (("front", _front), ("cloud", _cloud))}
    peers = {shape: timing.fastest("frontier") for shape, timing in timings.items()}
    ratios = {shape: t.best("frontier") / t.best(peers[shape]) for shape, t in timings.items()}
    worst = max(ratios, key=lambda shape: ratios[shape])
    timing, peer = timings[worst], peers[worst]
    per = len(_sets(_front, n, m))
    return Row(
        f"{task}.{n}.{m}.ratio",
        f"{work} of {n} points in {m} objectives, seconds over the faster peer's, best of {timing.rounds()} rounds in turn (interval: quartiles over rounds); "
        f"the worse of a concave front ({ratios['front']:.2f}) and a uniform cloud ({ratios['cloud']:.2f}); {1e3 * timing.best('frontier') / per:.3g} ms"
        + (f"; {alone[0]} takes too long and was left out" if alone else ""),
        ratios[worst],
        "times",
        interval=timing.quartiles("frontier", peer),
        peer=f"{peer}, ms",
        peer_value=1e3 * timing.best(peer) / per,
        **at_most(BAR, ratios[worst]),
    )


def _peers(task: str, n: int, m: int) -> list[str]:
    """The installed peers that don't take too long; moocore always is."""
    installed = ["moocore", *(["pygmo"] if importlib.util.find_spec("pygmo") else [])]
    return [name for name in installed if (n, m) not in TOO_LONG.get((task, name), ())]


def _timed(task: str, draw: Callable[..., Front], n: int, m: int, budget: float) -> Timing:
    sets = _sets(draw, n, m)
    costs, place = [-points for points in sets], np.zeros(m)  # the peers get what they minimise, without a conversion
    calls: dict[str, Callable[[Front, Front], Any]] = {
        "frontier": lambda points, _: hypervolume(points, place) if task == "hv" else non_dominated(points),
        "moocore": lambda _, cost: (
            moocore.hypervolume(cost, ref=place) if task == "hv" else moocore.is_nondominated(cost)
        ),
    }
    peers = _peers(task, n, m)
    if "pygmo" in peers:
        import pygmo

        front = pygmo.non_dominated_front_2d if m == 2 else lambda cost: pygmo.fast_non_dominated_sorting(cost)[0][0]
        calls["pygmo"] = lambda _, cost: pygmo.hypervolume(cost).compute(place) if task == "hv" else front(cost)
    calls = {name: call for name, call in calls.items() if name == "frontier" or name in peers}
    if n * m < 50_000:
        _check(task, calls, sets[0], costs[0])

    def on_item(call: Callable[[Front, Front], Any]) -> Callable[[int], object]:
        return lambda i: call(sets[i], costs[i])

    return in_turn({name: on_item(call) for name, call in calls.items()}, len(sets), budget, "frontier")


def _check(task: str, calls: dict[str, Callable[[Front, Front], Any]], points: Front, cost: Front) -> None:
    """A wrong answer isn't fast."""
    found = {name: call(points, cost) for name, call in calls.items()}
    for name, value in found.items():
        if task == "hv":
            assert np.isclose(value, found["frontier"], rtol=1e-9, atol=0), (name, found)
        else:
            rows = np.flatnonzero(value) if np.asarray(value).dtype == bool else np.sort(value)
            assert (rows == np.flatnonzero(found["frontier"])).all(), name


def _sets(draw: Callable[..., Front], n: int, m: int) -> list[Front]:
    generator = np.random.default_rng([n, m])
    return [draw(generator, n, m) for _ in range(max(1, min(50, 10_000 // n)) if m < 6 else 1 + 1_000 // n)]


def _front(generator: np.random.Generator, n: int, m: int) -> Front:
    """On the unit sphere: no point dominates another."""
    points = np.abs(generator.normal(size=(n, m)))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _cloud(generator: np.random.Generator, n: int, m: int) -> Front:
    return generator.random((n, m))
