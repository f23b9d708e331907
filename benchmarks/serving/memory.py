"""Whether the server's memory stays flat over thousands of requests."""

from benchmarks.report import Row, at_most
from benchmarks.serving.context import Context
from benchmarks.serving.load import closed_loop, workload
from benchmarks.serving.models import TINY
from benchmarks.serving.server import moalign_server

REQUESTS, WARM_UP, STEP = 10_000, 1_000, 500
QUICK = (300, 100, 100)
CLIENTS = 16
BAR = 0.05


def rows(context: Context) -> list[Row]:
    """Growth of the resident memory after the warm-up, every request with its own prompt and weights, every second round streamed."""
    requests, warm_up, step = QUICK if context.quick else (REQUESTS, WARM_UP, STEP)
    resident = []
    with moalign_server(context.tiny(), "all") as server:
        for start in range(0, requests, step):
            asks = workload(step, start, mixed=True, vocabulary=TINY.vocabulary, prompt=(4, 40), answer=(1, 6))
            closed_loop(server, asks, CLIENTS, stream=start // step % 2 == 1)
            resident.append(server.resident_bytes())
    after = resident[warm_up // step - 1 :]
    if any(value is None for value in after):
        return [Row("memory.growth", "not run: this system does not tell a process's memory in /proc", None)]
    known = [value for value in after if value is not None]
    growth = known[-1] / known[0] - 1
    what = (
        f"resident memory of the server after {requests:,} short requests over that after the first {warm_up:,}, less 1 "
        f"({known[0] / 2**20:.0f} MiB then; {(known[-1] - known[0]) / (requests - warm_up):.0f} bytes a request); hidden {TINY.hidden}, every second round streamed"
    )
    spread = [min(known) / known[0] - 1, max(known) / known[0] - 1]
    return [Row("memory.growth", what, growth, "", spread, **at_most(BAR, growth))]
