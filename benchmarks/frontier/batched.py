"""Hypervolumes of many small fronts at once against a loop over moocore, and with gradients on a GPU if there is one."""

import moocore
import numpy as np
import torch

from benchmarks.frontier.context import Context
from benchmarks.frontier.timing import in_turn
from benchmarks.report import Row, at_least
from frontier.measure.batched import hypervolume_batch

BARS = {2: 5.0, 3: 2.0}
POINTS = 50


def rows(context: Context) -> list[Row]:
    """2 and 3 objectives on the CPU, and on the GPU where there is one."""
    fronts, budget = (100, 0.1) if context.quick else (1_000, 4.0)
    found = [_row(fronts, m, budget, "cpu") for m in BARS]
    if torch.cuda.is_available():
        found += [_row(fronts, m, budget, "cuda") for m in BARS]
    return found


def _row(fronts: int, m: int, budget: float, device: str) -> Row:
    generator = np.random.default_rng(m)
    points = np.abs(generator.normal(size=(fronts, POINTS, m)))
    points /= np.linalg.norm(points, axis=2, keepdims=True)
    costs, place = -points, np.zeros(m)  # moocore gets what it minimises, without a conversion
    tensor = torch.tensor(points, device=device)

    def batch() -> torch.Tensor:
        return hypervolume_batch(tensor, place).cpu()

    def loop() -> list[float]:
        return [moocore.hypervolume(cost, ref=place) for cost in costs]

    assert np.allclose(batch().numpy(), loop(), rtol=1e-10, atol=0)
    timing = in_turn({"frontier": lambda _: batch(), "moocore": lambda _: loop()}, 1, budget, "frontier", rounds=10)
    own, peer = timing.best("frontier"), timing.best("moocore")
    on = "" if device == "cpu" else f"{device}."
    return Row(
        f"hv.batched.{m}.{on}speedup",
        f"hypervolumes of {fronts} fronts of {POINTS} points in {m} objectives on {device}, best of {timing.rounds()} rounds in turn "
        f"(interval: quartiles over rounds): {1e3 * own:.2f} ms",
        peer / own,
        "times",
        interval=timing.quartiles("moocore", "frontier"),
        peer="loop over moocore, ms",
        peer_value=1e3 * peer,
        **(at_least(BARS[m], peer / own) if device == "cpu" else {}),
    )
