"""Tokens per second with all weights different, beside all the same and beside the base model: the same engine, API and requests."""

import itertools
from collections.abc import Callable
from contextlib import ExitStack

import torch

from benchmarks.report import Row, at_least
from benchmarks.serving.context import Context
from benchmarks.serving.load import closed_loop, workload
from benchmarks.serving.models import RANK
from benchmarks.serving.rounds import shuffled_rounds
from benchmarks.serving.server import Server, moalign_server
from benchmarks.steering.timing import Seconds, ratio

# Requests and rounds of each number of clients; short rounds in turn, since machines are noisy.
PLAN = {1: (4, 15), 4: (8, 7), 8: (16, 5), 16: (32, 5), 32: (48, 4)}
QUICK = {1: (1, 2), 4: (8, 2)}
SAME_BAR, BASE_BAR = 0.95, 0.85
# Where the same is measured with adapters on the query and value projections only.
FEW_TARGETS = (1, 16)


def rows(context: Context) -> list[Row]:
    """Ratios of rates in closed loops, and the rate itself."""
    folder, size = context.models(), context.size
    found: list[Row] = []
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(moalign_server(folder, kind)) for kind in ("all", "qv", "base")}
        for clients, (count, rounds) in (QUICK if context.quick else PLAN).items():
            contenders = {
                "mixed": asking(servers["all"], clients, count, size.vocabulary, mixed=True),
                "same": asking(servers["all"], clients, count, size.vocabulary, mixed=False),
                "base": asking(servers["base"], clients, count, size.vocabulary, mixed=True),
            }
            if clients in FEW_TARGETS:
                contenders["qv"] = asking(servers["qv"], clients, count, size.vocabulary, mixed=True)
            seconds = shuffled_rounds(contenders, rounds)
            at = (
                f"{clients} clients, closed loop, prompts of 32 to 64 tokens, answers of 16 to 48, hidden {size.hidden}, {size.layers} layers, "
                f"{size.dtype}, {torch.get_num_threads()} thread(s)"
            )
            experts = f"3 experts of rank {RANK}"
            value, spread = ratio(seconds, "same", "mixed")
            what = f"tokens/s with all weights different over all the same, {experts} on all linear layers; {at}"
            found.append(Row(f"mixed_over_same.{clients}", what, value, "", spread, **at_least(SAME_BAR, value)))
            value, spread = ratio(seconds, "base", "mixed")
            what = f"tokens/s with all weights different, {experts} on all linear layers, over the base model without adapters, same engine and API; {at}"
            found.append(Row(f"mixed_over_base.{clients}", what, value, "", spread, **at_least(BASE_BAR, value)))
            if "qv" in seconds:
                value, spread = ratio(seconds, "base", "qv")
                what = f"the same with the experts on q_proj and v_proj; {at}"
                found.append(Row(f"qv.mixed_over_base.{clients}", what, value, "", spread, **at_least(BASE_BAR, value)))
            found += _rates(seconds, clients, count, size.vocabulary, rounds)
    return found


def asking(server: Server, clients: int, count: int, vocabulary: int, *, mixed: bool) -> Callable[[], object]:
    """A round of requests, new ones at each call and the same for every contender: nothing is answered from what is remembered of prompts."""
    seeds = itertools.count(1000 * clients)

    def round_of_requests() -> object:
        return closed_loop(server, workload(count, next(seeds), mixed=mixed, vocabulary=vocabulary), clients)

    return round_of_requests


def _rates(seconds: Seconds, clients: int, count: int, vocabulary: int, rounds: int) -> list[Row]:
    """The median rate with all weights different, and the base model's."""
    tokens = [
        sum(a.max_tokens for a in workload(count, 1000 * clients + 1 + i, mixed=True, vocabulary=vocabulary))
        for i in range(rounds)
    ]
    rates = {
        name: sorted(n / s for n, s in zip(tokens, seconds[name], strict=True))[rounds // 2]
        for name in ("mixed", "base")
    }
    what = f"median rate of {clients} clients with all weights different"
    return [Row(f"rate.{clients}", what, rates["mixed"], "tokens/s", None, "base model", rates["base"])]
