"""A mixture of adapters as one of their rank: our export against PEFT's `add_weighted_adapter` with `svd`."""

import math
import shutil
import statistics
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from benchmarks.merging.context import WEIGHTS, Context
from benchmarks.merging.engines import ratio
from benchmarks.report import Row, at_most

RANK, QUICK_RANK = 16, 4
BAR, ERROR = 0.1, 1e-5
NAMES = ("helpful", "brief", "formal")


def rows(context: Context) -> list[Row]:
    """Three adapters on every linear layer of the same models, mixed and cut back to the rank of one; ours is written to disk too."""
    from frontier.realize.adapters import AdapterMixture
    from frontier.realize.truncate import export_truncated_lora

    rank, out = QUICK_RANK if context.quick else RANK, context.scratch / "truncated"
    theirs, mixture = _adapted(context, rank), AdapterMixture(_adapted(context, rank), NAMES)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(min(3, context.rounds())):
        shutil.rmtree(out, ignore_errors=True)
        started = perf_counter()
        report = export_truncated_lora(mixture, WEIGHTS, out, rank=rank)
        seconds["ours"].append(perf_counter() - started)
        if "mixed" in theirs.peft_config:
            theirs.delete_adapter("mixed")
        started = perf_counter()
        theirs.add_weighted_adapter(list(NAMES), list(WEIGHTS), "mixed", combination_type="svd", svd_rank=rank)
        seconds["theirs"].append(perf_counter() - started)
    value, spread = ratio(seconds["ours"], seconds["theirs"])
    ours, peer = statistics.median(seconds["ours"]), statistics.median(seconds["theirs"])
    theirs.load_adapter(out, "exported")  # what a reader of the folder gets
    error, theirs_error = _error(theirs, mixture, "exported"), _error(theirs, mixture, "mixed")
    reported = report.relative_error
    return [
        Row(
            "truncate.time_ratio",
            f"{len(report.layers)} layers, 3 adapters of rank {rank} to one: {ours:.2f} s with its file written against {peer:.2f} s in memory",
            value,
            interval=spread,
            peer="PEFT svd, s",
            peer_value=peer,
            **({} if context.quick else at_most(BAR, value)),
        ),
        Row(
            "truncate.error",
            "relative error of the change of all layers, of the folder as PEFT loads it: no worse than PEFT's own",
            error,
            peer="PEFT svd",
            peer_value=theirs_error,
            bar=f"<= {theirs_error:g} + {ERROR:g}",
            holds=error <= theirs_error + ERROR,
        ),
        Row(
            "truncate.reported_error",
            "the relative error that the export itself reports",
            reported,
            peer="measured in PEFT",
            peer_value=error,
            bar=f"{error:g} ± {ERROR:g}",
            holds=abs(reported - error) <= ERROR,
        ),
    ]


def _adapted(context: Context, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in context.config().items() if k != "architectures"}))
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(model, settings, adapter_name=NAMES[0])
    for name in NAMES[1:]:
        adapted.add_adapter(name, settings)
    return adapted


@torch.no_grad()
def _error(model: Any, mixture: Any, name: str) -> float:
    """How far an adapter of a PEFT model is from the exact sum of the three, over all layers."""
    apart, whole = [], []
    modules = dict(model.named_modules())
    for path in mixture.layers:
        exact = torch.stack([w * _delta(modules, path, n) for w, n in zip(WEIGHTS, NAMES, strict=True)]).sum(0)
        apart.append(float((_delta(modules, path, name) - exact).norm()))
        whole.append(float(exact.norm()))
    return math.hypot(*apart) / math.hypot(*whole)


def _delta(modules: dict[str, Any], path: str, name: str) -> Tensor:
    found = next(module for at, module in modules.items() if at == path or at.endswith("." + path))
    delta: Tensor = found.get_delta_weight(name)
    return delta
