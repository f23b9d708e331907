"""Give a loaded model new merged weights, without a file."""

import statistics
from time import perf_counter

import torch

from benchmarks.merging.context import WEIGHTS, Context, tensors
from benchmarks.report import Row


def rows(context: Context) -> list[Row]:
    """Other weights of three models in memory, into the tensors of a fourth."""
    from frontier.realize.merging import merge_state_dicts

    config = context.config()
    models = [tensors(config, torch.bfloat16, str(i)) for i in range(len(WEIGHTS))]
    loaded = tensors(config, torch.bfloat16, "base")
    seconds = []
    for turn in range(1 + context.rounds()):
        weights = [w + 0.01 * turn for w in WEIGHTS]
        started = perf_counter()
        merge_state_dicts(models, "linear", {"weight": weights}, into=loaded)
        seconds.append(perf_counter() - started)
    count = sum(t.numel() for t in loaded.values())
    value = statistics.median(seconds[1:])
    what = f"new weights of 3 models in memory into a loaded one of {count / 1e6:.0f}M parameters in bfloat16, in place, sums in float32"
    return [Row("in_place.seconds", what, value, "s", interval=[min(seconds[1:]), max(seconds[1:])])]
