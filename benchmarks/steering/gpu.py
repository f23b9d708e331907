"""Prefill and one-token decode on a GPU in bfloat16: steered over base, eager and compiled into CUDA graphs."""

import contextlib
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import StaticCache

from benchmarks.report import Row, at_most
from benchmarks.steering.cpu import same
from benchmarks.steering.models import TARGETS, MergePerRequest, Size, make_base, mixture
from benchmarks.steering.timing import in_turn, ratio

BARS = {"prefill": 1.05, "decode": 1.10}
# In bfloat16 the merged weights are rounded once more: so far may the logits be from those of merged rows, and so far they must be from the base's.
SAME = (0.05, 0.2)


class Task:
    """A batch to prefill and one more token to decode, in caches of one size, as CUDA graphs need them.

    Args:
        model: called as a Llama.
        ids (`Tensor`): `[N, T]`.
        compiled (`bool`): through torch.compile with CUDA graphs.
    """

    def __init__(self, model: Any, ids: Tensor, compiled: bool) -> None:
        self.ids = ids
        self.call = torch.compile(model, mode="reduce-overhead", fullgraph=True) if compiled else model
        self.cache = StaticCache(config=model.config, max_cache_len=ids.shape[1] + 1)
        self.position = torch.full((len(ids), 1), ids.shape[1], device=ids.device)
        model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)

    def prefill(self) -> Tensor:
        """The logits after the prompt; the next call may overwrite them."""
        torch.compiler.cudagraph_mark_step_begin()
        logits: Tensor = self.call(self.ids, use_cache=False, logits_to_keep=1).logits
        return logits

    def decode(self) -> Tensor:
        """The logits after one more token, at the same place of the cache each time; the next call may overwrite them."""
        torch.compiler.cudagraph_mark_step_begin()
        layers: list[Any] = self.cache.layers
        for layer in layers:
            layer.cumulative_length.fill_(self.ids.shape[1])
        logits: Tensor = self.call(
            self.ids[:, :1],
            past_key_values=self.cache,
            position_ids=self.position,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits


class MergedRows:
    """The same by hand: one row after the other, each with weights merged for it."""

    def __init__(self, merged: MergePerRequest, ids: Tensor, weights: Tensor) -> None:
        self.merged, self.ids, self.weights = merged, ids, weights.tolist()

    def _each(self, phase: str) -> Tensor:
        logits = []
        for row, w in zip(self.ids, self.weights, strict=True):
            self.merged.merge(w)
            logits.append(getattr(Task(self.merged.model, row[None], False), phase)())
        return torch.cat(logits)

    def prefill(self) -> Tensor:
        """As `Task.prefill`."""
        return self._each("prefill")

    def decode(self) -> Tensor:
        """As `Task.decode`."""
        return self._each("decode")


@torch.no_grad()
def rows(quick: bool) -> list[Row]:
    """Ratios to the base model in the same form; none without a GPU."""
    if not torch.cuda.is_available():
        return []
    size = Size(2048, 4 if quick else 16, 16, 256)
    base = make_base(size, "cuda", torch.bfloat16)
    torch.manual_seed(1)
    ids = torch.randint(3, 32000, (size.rows, size.prompt), device="cuda")
    weights = torch.rand(size.rows, 3, device="cuda") * 2 - 0.5
    found: list[Row] = []
    with contextlib.ExitStack() as steering:
        models: dict[str, Any] = {"base": base}
        for name, targets in TARGETS.items():
            ours = mixture(base, targets)
            steering.enter_context(ours.frozen())
            steering.enter_context(ours.steer(weights))
            models[name] = ours.model.get_base_model()
        by_hand = {name: MergedRows(MergePerRequest(base, targets), ids, weights) for name, targets in TARGETS.items()}
        for form in ("compiled", "eager"):
            tasks = {name: Task(model, ids, form == "compiled") for name, model in models.items()}
            for phase, bar in BARS.items():
                seconds = in_turn({n: getattr(t, phase) for n, t in tasks.items()}, 5 if quick else 40, warm_up=4)
                for name in TARGETS:
                    value, spread = ratio(seconds, name, "base")
                    what = f"GPU, bfloat16, hidden {size.hidden}, {size.layers} layers, {size.rows} rows, {form}: {phase} time over the base model's"
                    held = at_most(bar, value) if form == "compiled" and not quick else {}
                    found.append(Row(f"gpu.{name}.{phase}.{form}.ratio", what, value, "", spread, **held))
            for name, rows_by_hand in by_hand.items():
                found += same(f"gpu.{name}.{form}", tasks[name], tasks["base"], {"merged rows": rows_by_hand}, SAME)
    return found
