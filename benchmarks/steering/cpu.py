"""Prefill and one-token decode on the CPU: steered, base, and the peers, in float32."""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from benchmarks.agreement import worst_of
from benchmarks.report import Row, at_least, at_most
from benchmarks.steering.models import (
    TARGETS,
    MergePerRequest,
    Size,
    make_base,
    mixture,
    with_one_adapter_a_row,
    with_tensor_scalings,
)
from benchmarks.steering.timing import in_turn, ratio

BARS = {"qv.prefill": 1.05, "qv.decode": 1.10, "all.prefill": 1.15, "all.decode": 1.20}
# All compute the same function, which is another one than the base model's.
SAME, OTHER = 1e-4, 0.01
PEERS = {
    "peft_scaling": "stock PEFT, three active adapters with tensors as scalings",
    "peft_mixed": "stock PEFT, mixed batch with one concatenated adapter a row",
}


class Task:
    """A batch to prefill, and one more token to decode after it.

    Args:
        model: called as a Llama.
        ids (`Tensor`): `[N, T]`.
        extra: further arguments of each call.
    """

    def __init__(self, model: Any, ids: Tensor, **extra: Any) -> None:
        self.model, self.ids, self.extra = model, ids, extra
        self.cache = DynamicCache(config=model.config)
        model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1, **extra)

    def prefill(self) -> Tensor:
        """The logits after the prompt, as generation begins."""
        logits: Tensor = self.model(self.ids, use_cache=False, logits_to_keep=1, **self.extra).logits
        return logits

    def decode(self) -> Tensor:
        """The logits after one more token; the cache is as long as before afterwards."""
        logits: Tensor = self.model(
            self.ids[:, :1], past_key_values=self.cache, use_cache=True, logits_to_keep=1, **self.extra
        ).logits
        self.cache.crop(-1)
        return logits


class MergedTask:
    """The same, one row after the other, each with its own merged weights."""

    def __init__(self, merged: MergePerRequest, ids: Tensor, weights: Tensor) -> None:
        self.merged, self.weights = merged, weights.tolist()
        self.tasks = []
        for row, w in zip(ids, self.weights, strict=True):
            merged.merge(w)
            self.tasks.append(Task(merged.model, row[None]))

    def _each(self, run: Callable[[Task], Tensor]) -> Tensor:
        logits = []
        for task, w in zip(self.tasks, self.weights, strict=True):
            self.merged.merge(w)
            logits.append(run(task))
        return torch.cat(logits)

    def prefill(self) -> Tensor:
        """As `Task.prefill`."""
        return self._each(Task.prefill)

    def decode(self) -> Tensor:
        """As `Task.decode`."""
        return self._each(Task.decode)


@torch.no_grad()
def rows(quick: bool) -> list[Row]:
    """Ratios of steered, peers and merging per request to the base model, and whether all of them computed the same."""
    size = Size(64, 2, 8, 8) if quick else Size(512, 8, 16, 64)
    base = make_base(size, "cpu", torch.float32)
    torch.manual_seed(1)
    ids = torch.randint(3, 32000, (size.rows, size.prompt))
    weights = torch.rand(size.rows, 3) * 2 - 0.5
    found: list[Row] = []
    with contextlib.ExitStack() as steering:
        tasks: dict[str, Any] = {"base": Task(base, ids)}
        for name, targets in TARGETS.items():
            ours = mixture(base, targets)
            steering.enter_context(ours.steer(weights))
            tasks[name] = Task(ours.model, ids)
        for phase, rounds in (("prefill", 15), ("decode", 150)):
            found += _ours(tasks, phase, 3 if quick else rounds, size, quick)
        own = tasks.pop("qv")
        agreement = same("qv", own, tasks["base"], _made_peers(base, TARGETS["qv"], ids, weights))
        del own
        tasks |= _made_peers(base, TARGETS["all"], ids, weights)
        for phase, rounds in (("prefill", 6), ("decode", 12)):
            found += _peers(tasks, phase, 2 if quick else rounds)
        others = {name: task for name, task in tasks.items() if name not in ("base", "all")}
        agreement += same("all", tasks["all"], tasks["base"], others)
    return [*found, *agreement]


def _made_peers(base: Any, targets: Any, ids: Tensor, weights: Tensor) -> dict[str, Any]:
    mixed, names = with_one_adapter_a_row(base, targets, weights)
    return {
        "peft_scaling": Task(with_tensor_scalings(base, targets, weights), ids),
        "peft_mixed": Task(mixed, ids, adapter_names=names),
        "merged": MergedTask(MergePerRequest(base, targets), ids, weights),
    }


def _ours(tasks: dict[str, Any], phase: str, rounds: int, size: Size, quick: bool) -> list[Row]:
    seconds = in_turn({name: getattr(task, phase) for name, task in tasks.items()}, rounds)
    found = []
    for name in TARGETS:
        value, spread = ratio(seconds, name, "base")
        what = (
            f"{phase} of {size.rows} rows, each with its own weights over 3 experts of rank 16 on {name} layers (hidden {size.hidden}, {size.layers} layers, "
            f"{torch.get_num_threads()} threads): time over the base model's"
        )
        id_ = f"{name}.{phase}"
        held = {} if quick else at_most(BARS[id_], value)  # so small a model tells nothing about time
        found.append(Row(f"{id_}.ratio", what, value, "", spread, **held))
    return found


def _peers(tasks: dict[str, Any], phase: str, rounds: int) -> list[Row]:
    seconds = in_turn({name: getattr(task, phase) for name, task in tasks.items()}, rounds, warm_up=1)
    own = ratio(seconds, "all", "base")[0]
    found = []
    for name, what in PEERS.items():
        value, spread = ratio(seconds, name, "base")
        found.append(Row(f"{phase}.{name}.ratio", what, value, "", spread, "moalign", own))
    value, spread = ratio(seconds, "merged", "base")
    id_ = "merge_per_request.ratio" if phase == "prefill" else "merge_per_request.decode.ratio"
    found.append(Row(id_, f"weights merged for each row in turn, {phase}", value, "", spread, "moalign", own))
    return found


def same(
    name: str, ours: Any, base: Any, peers: Mapping[str, Any], bars: tuple[float, float] = (SAME, OTHER)
) -> list[Row]:
    """How far our logits are from those of the same function made otherwise, row by row, and how near to the base model's.

    Args:
        name (`str`): begins the rows' ids.
        ours: with `prefill` and `decode`, as the others.
        base: the base model's.
        peers (`Mapping[str, Any]`): by name.
        bars (`tuple[float, float]`): the largest difference from a peer and the smallest from the base.
    """
    apart, steered = [], []
    for phase in ("prefill", "decode"):
        own = getattr(ours, phase)().float().clone()  # what CUDA graphs return is overwritten by the next call
        apart += [_distance(getattr(peer, phase)().float(), own) for peer in peers.values()]
        steered.append(_distance(getattr(base, phase)().float(), own))
    error, least = worst_of(distance for distances in apart for distance in distances), [x for d in steered for x in d]
    difference = min(least) if math.isfinite(worst_of(least)) else math.nan
    what = f"largest relative difference of a row between our logits on {name} layers and those of {', '.join(peers)}: all compute the same function"
    other = "smallest relative difference of a row from the base model's logits: the rows are steered at all"
    return [
        Row(f"{name}.same.error", what, error, **at_most(bars[0], error)),
        Row(f"{name}.steered.difference", other, difference, **at_least(bars[1], difference)),
    ]


def _distance(found: Tensor, own: Tensor) -> list[float]:
    """Of each row, over the norm of ours."""
    off, size = (found - own).flatten(1).norm(dim=1), own.flatten(1).norm(dim=1)
    distances: list[float] = (off / size.clamp(min=1e-30)).tolist()
    return distances
