"""Prefill and one-token decode on the CPU: steered, base, and the peers, in float32."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from benchmarks.report import Row, at_most
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
            found += _ours(tasks, phase, 3 if quick else rounds, size)
        del tasks["qv"]
        targets = TARGETS["all"]
        tasks["peft_scaling"] = Task(with_tensor_scalings(base, targets, weights), ids)
        peer, names = with_one_adapter_a_row(base, targets, weights)
        tasks["peft_mixed"] = Task(peer, ids, adapter_names=names)
        tasks["merged"] = MergedTask(MergePerRequest(base, targets), ids, weights)
        for phase, rounds in (("prefill", 6), ("decode", 12)):
            found += _peers(tasks, phase, 2 if quick else rounds)
        found.append(_same(tasks))
    return found


def _ours(tasks: dict[str, Any], phase: str, rounds: int, size: Size) -> list[Row]:
    seconds = in_turn({name: getattr(task, phase) for name, task in tasks.items()}, rounds)
    found = []
    for name in TARGETS:
        value, spread = ratio(seconds, name, "base")
        what = (
            f"{phase} of {size.rows} rows, each with its own weights over 3 experts of rank 16 on {name} layers (hidden {size.hidden}, {size.layers} layers, "
            f"{torch.get_num_threads()} threads): time over the base model's"
        )
        id_ = f"{name}.{phase}"
        found.append(Row(f"{id_}.ratio", what, value, "", spread, **at_most(BARS[id_], value)))
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


def _same(tasks: dict[str, Any]) -> Row:
    """The largest distance between ours and a peer's logits."""
    own = {phase: getattr(tasks["all"], phase)() for phase in ("prefill", "decode")}
    errors = [
        float((getattr(tasks[name], phase)() - logits).norm() / logits.norm())
        for phase, logits in own.items()
        for name in (*PEERS, "merged")
    ]
    what = "largest relative difference between our logits and a peer's: all compute the same function"
    return Row("same.error", what, max(errors), **at_most(1e-4, max(errors)))
