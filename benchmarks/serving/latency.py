"""How long streamed answers take to begin and to go on, in closed and open loops, beside the base model."""

import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.report import Row
from benchmarks.serving.context import Context
from benchmarks.serving.load import Answer, closed_loop, open_loop, workload
from benchmarks.serving.server import moalign_server

# Requests of each number of clients in one round, and of one open loop.
PLAN = {1: 8, 4: 12, 8: 16, 16: 32, 32: 64}
QUICK = {1: 2, 4: 8}
ROUNDS = 2
ARRIVALS = 48
LOADS = (0.5, 0.8)
KINDS = {"mixed": "all", "base": "base"}


def rows(context: Context) -> list[Row]:
    """p50 and p95 of the time to the first token and of the time per further token."""
    folder, vocabulary = context.models(), context.size.vocabulary
    rounds = 1 if context.quick else ROUNDS
    found: list[Row] = []
    with ExitStack() as stack:
        servers = {name: stack.enter_context(moalign_server(folder, kind)) for name, kind in KINDS.items()}
        for name in servers:  # the first requests pay for buffers
            closed_loop(servers[name], workload(4, 1, mixed=True, vocabulary=vocabulary), 4, stream=True)
        rate = 1.0
        for clients, count in (QUICK if context.quick else PLAN).items():
            answers: dict[str, list[Answer]] = {name: [] for name in servers}
            for i in range(rounds):
                asks = workload(count, 7000 + 100 * clients + i, mixed=True, vocabulary=vocabulary)
                for name in _order(i):
                    answers[name] += closed_loop(servers[name], asks, clients, stream=True)
            found += _rows(answers, "", f".{clients}", f"{clients} clients, closed loop, streamed")
            rate = max(rate, _requests_per_second(answers["mixed"], clients))
        for load in LOADS:
            answers = {name: [] for name in servers}
            for i in range(rounds):
                asks = workload(6 if context.quick else ARRIVALS, 9000 + i, mixed=True, vocabulary=vocabulary)
                for name in _order(i):
                    answers[name] += open_loop(servers[name], asks, load * rate, i)
            at = f"open loop, Poisson arrivals at {load:.0%} of the best closed loop's rate ({load * rate:.1f} requests/s), streamed"
            found += _rows(answers, "open.", f".{load * 100:.0f}", at)
    return found


def _order(i: int) -> list[str]:
    return list(KINDS) if i % 2 == 0 else list(KINDS)[::-1]


def _requests_per_second(answers: Sequence[Answer], clients: int) -> float:
    """By Little's law, from how long each request took."""
    return clients / statistics.mean(a.last - a.asked for a in answers)


def _rows(answers: dict[str, list[Answer]], prefix: str, suffix: str, at: str) -> list[Row]:
    found = []
    for field, what in (("ttft", "time to the first token"), ("tpot", "time per further token")):
        taken = {name: sorted(1000 * getattr(a, field) for a in some) for name, some in answers.items()}
        for share in (50, 95):
            text = f"{what}, {'median' if share == 50 else '95th percentile'} of {len(taken['mixed'])} requests with all weights different; {at}"
            own, base = (percentile(taken[name], share) for name in ("mixed", "base"))
            found.append(Row(f"{prefix}{field}.p{share}{suffix}", text, own, "ms", None, "base model", base))
    return found


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is at least as large as `share` percent of them (nearest rank)."""
    return ordered[max(0, -(-len(ordered) * int(share) // 100) - 1)]
