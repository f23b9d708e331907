"""DPO on pairs beside TRL's DPOTrainer: samples per second, memory, losses, each technique alone, and the distance from the processor's limit."""

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM, PrinterCallback, TrainerCallback

from benchmarks.report import Row, at_least, at_most
from benchmarks.serving.rounds import shuffled_rounds
from benchmarks.training.context import THREADS, Context
from benchmarks.training.pair_runs import (
    NAMES,
    Setting,
    adapter_of,
    flops,
    matmul_rate,
    ours,
    quiet,
    steerable,
    train_seconds,
    trl,
)
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.policy import SteerablePolicy

BARS = {"over_trl_precomputed": 2.3, "over_trl": 3.3, "varied.over_trl_precomputed": 4.0, "varied.over_trl": 6.0}
MEMORY_BAR, STEERABLE_BAR, LOSS_BAR = 0.8, 0.9, 1e-4
# Of the second model whose steerable run is measured: at 256, three adapters of rank 16 are a quarter of all multiplications.
WIDE = 512
QUICK: dict[str, Any] = {"hidden": 64, "layers": 1, "vocabulary": 256, "batch": 4, "length": 32}
_OFF = {"share_prompts": False, "split_by_length": False}


@dataclass(frozen=True)
class Rounds:
    """How much is measured.

    Args:
        pairs (`int`): in the data.
        steps (`int`): of each call of `train`, the first of which is not counted.
        rounds (`int`): calls of each contender, in turn.
    """

    pairs: int = 64
    steps: int = 4
    rounds: int = 5


def rows(context: Context) -> list[Row]:
    """Ratios to TRL's samples per second in the same run, of memory, and of the steerable run to the plain one."""
    much = Rounds(16, 2, 1) if context.quick else Rounds()
    found: list[Row] = []
    with quiet():
        for varied in (False, True):
            setting = Setting(varied=varied, **(QUICK if context.quick else {}))
            folder = context.scratch / ("varied" if varied else "equal")
            found += _over_trl(folder, setting, much, context.quick)
            found.append(_memory(folder, setting, context.quick))
        setting = Setting(**(QUICK if context.quick else {}))
        # Close to 1 and so to its bar, this ratio needs more rounds than those to TRL.
        found.append(_steerable(context.scratch / "steerable", setting, much, 4 * much.rounds + 1, context.quick))
        if not context.quick:
            wide = Setting(hidden=WIDE)
            found.append(_steerable(context.scratch / "wide", wide, much, 2 * much.rounds - 1, False, f".{WIDE}"))
        found.append(_adapter(context.scratch / "adapter", setting, much, context.quick))
        found += _profile(context.scratch / "profile", setting, much)
    return found


def _bar(quick: bool, held: dict[str, Any]) -> dict[str, Any]:
    return {} if quick else held  # so small a model tells nothing about time


class Timed:
    """Trainers by name, whose steps are timed in turn."""

    def __init__(self, trainers: dict[str, Any]) -> None:
        self.trainers = trainers
        self.seconds: dict[str, list[float]] = {name: [] for name in trainers}
        self.losses: dict[str, list[float]] = {name: [] for name in trainers}
        for trainer in trainers.values():
            trainer.remove_callback(PrinterCallback)

    def run(self, rounds: int) -> "Timed":
        """One round that is not counted, then `rounds` in shuffled orders; training goes on from round to round."""

        def once(name: str) -> None:
            seconds, losses = train_seconds(self.trainers[name])
            self.seconds[name].append(seconds)
            self.losses[name] += losses

        with contextlib.redirect_stdout(io.StringIO()):
            shuffled_rounds({name: lambda name=name: once(name) for name in self.trainers}, rounds)  # type: ignore[misc]
        self.seconds = {name: seconds[1:] for name, seconds in self.seconds.items()}
        return self

    def ratio(self, slow: str, fast: str) -> tuple[float, list[float]]:
        """How many times the steps of one fit into those of another: the median over the rounds, and the quartiles."""
        ratios = [a / b for a, b in zip(self.seconds[slow], self.seconds[fast], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return middle, [low, high]


def _over_trl(folder: Path, setting: Setting, much: Rounds, quick: bool) -> list[Row]:
    base, pairs = setting.save(folder / "base"), setting.pairs(much.pairs)
    our: Any = ours(base, folder / "ours", setting, pairs, much.steps)
    start, seconds = adapter_of(our), _Seconds()
    with seconds:
        our._score(our.train_dataset, setting.batch)
    made: dict[str, Any] = {
        "ours": our,
        "precomputed": trl(base, folder / "precomputed", setting, pairs, much.steps, start, precompute_ref_log_probs=True),
        "live": trl(base, folder / "live", setting, pairs, much.steps, start),
        "head": ours(base, folder / "head", setting, pairs, much.steps, **_OFF),
        "shared": ours(base, folder / "shared", setting, pairs, much.steps, split_by_length=False),
        "split": ours(base, folder / "split", setting, pairs, much.steps, share_prompts=False),
    }  # fmt: skip
    timed = Timed(made).run(much.rounds)
    prefix = "pairs.varied." if setting.varied else "pairs."
    about = (
        f"pairs/s of our run over TRL's (Llama {setting.layers} x {setting.hidden}, batches of {setting.batch}, "
        + ("lengths of HH-RLHF" if setting.varied else f"{setting.length} tokens, half of them the prompt")
        + f", {torch.get_num_threads()} threads)"
    )
    found = []
    for peer, id_, what in (
        ("precomputed", "over_trl_precomputed", "reference log-probs precomputed in both"),
        ("live", "over_trl", "TRL's reference computed in each step, ours once before the run, as always"),
    ):
        value, spread = timed.ratio(peer, "ours")
        rate = setting.batch / statistics.median(timed.seconds[peer])
        bar = BARS[f"{prefix.removeprefix('pairs.')}{id_}"]
        found.append(
            Row(
                f"{prefix}{id_}",
                f"{about}, {what}",
                value,
                "",
                spread,
                "TRL pairs/s",
                rate,
                **_bar(quick, at_least(bar, value)),
            )
        )
    once = statistics.median(timed.seconds["ours"]) + seconds.taken / much.pairs * setting.batch
    value = statistics.median(timed.seconds["live"]) / once
    found.append(
        Row(
            f"{prefix}over_trl_one_epoch",
            "the same with the cost of our reference pass in a single epoch without cache",
            value,
        )
    )
    for name, what in (
        ("head", "output layer on completions alone, gradient made in the forward pass"),
        ("shared", "that and prompts computed once"),
        ("split", "that and batches split by length, prompts computed for each completion"),
    ):
        value, spread = timed.ratio("precomputed", name)
        found.append(Row(f"{prefix}{name}.over_trl_precomputed", f"technique alone: {what}", value, "", spread))
    value, spread = timed.ratio("live", "precomputed")
    found.append(
        Row(
            f"{prefix}reference.trl_over_trl",
            "technique alone: what precomputing the reference brings TRL itself",
            value,
            "",
            spread,
        )
    )
    off = max(abs(a - b) for a, b in zip(timed.losses["ours"], timed.losses["precomputed"], strict=True))
    what = f"largest difference of a loss from TRL's over {len(timed.losses['ours'])} steps (nats, float32): both train the same"
    found.append(Row(f"{prefix}loss_difference", what, off, "", **at_most(LOSS_BAR, off)))
    padding = [line["padding"] for line in our.state.log_history if "padding" in line]
    found.append(Row(f"{prefix}padding", "share of our computed tokens that is padding", statistics.mean(padding)))
    return found


class _Seconds:
    """Wall time of a block."""

    taken = 0.0

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(self, *_: object) -> None:
        self.taken = perf_counter() - self._started


def _memory(folder: Path, setting: Setting, quick: bool) -> Row:
    found = {kind: _peak(kind, folder / f"memory-{kind}", setting, 2 if quick else 4) for kind in ("ours", "trl")}
    prefix = "pairs.varied." if setting.varied else "pairs."
    value = found["ours"] / max(1, found["trl"])
    what = (
        f"peak memory of our steps over TRL's ({found['ours'] / 2**20:.0f} and {found['trl'] / 2**20:.0f} MiB beyond what stands before the first step; each in a "
        "process of its own)"
    )
    return Row(f"{prefix}memory_ratio", what, value, "", **_bar(quick, at_most(MEMORY_BAR, value)))


def _peak(kind: str, folder: Path, setting: Setting, steps: int) -> int:
    command = [
        sys.executable,
        "-m",
        "benchmarks.training.pair_memory",
        kind,
        str(folder),
        json.dumps(asdict(setting)),
        str(steps),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return int(json.loads(done.stdout.strip().splitlines()[-1])["bytes"])


def _steerable(folder: Path, setting: Setting, much: Rounds, rounds: int, quick: bool, name: str = "") -> Row:
    base, pairs = setting.save(folder / "base"), setting.pairs(much.pairs)
    fixed = ",".join(f"{name}={1 / len(NAMES)!r}" for name in NAMES)
    made = {
        "steerable": steerable(base, folder / "steerable", setting, pairs, much.steps),
        "plain": steerable(base, folder / "plain", setting, pairs, much.steps, conditioning="none", preference=fixed),
    }
    value, spread = Timed(made).run(rounds).ratio("plain", "steerable")
    what = (
        "pairs/s of a run with three experts and weights of its own in every row, over those of our plain LoRA run for one preference "
        f"(Llama {setting.layers} x {setting.hidden})"
    )
    return Row(f"steerable.over_plain{name}", what, value, "", spread, **_bar(quick, at_least(STEERABLE_BAR, value)))


def _adapter(folder: Path, setting: Setting, much: Rounds, quick: bool) -> Row:
    """One expert against PEFT's own layer, forward and backward."""
    base = setting.save(folder / "base")
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    ids = torch.randint(4, setting.vocabulary, (setting.batch, setting.length))
    peft = get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    steered = add_adapters(LlamaForCausalLM.from_pretrained(base), {NAMES[0]: config})
    policy = SteerablePolicy(steered, made_tokenizer(base), NAMES[:1])
    policy.mixture.train_adapters()

    def step(model: Any) -> None:
        model(input_ids=ids, use_cache=False, logits_to_keep=1).logits.sum().backward()

    def our() -> None:
        with policy.steer_rows(torch.ones(1, 1)):
            step(policy.model)

    contenders: dict[str, Callable[[], object]] = {"peft": lambda: step(peft), "ours": our}
    seconds = shuffled_rounds(contenders, 2 * much.rounds)
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["peft"], strict=True)]
    value = statistics.median(ratios)
    what = "time of a forward and backward pass with one expert over that of PEFT's own LoRA"
    return Row(
        "steerable.one_expert_over_peft",
        what,
        value,
        "",
        [min(ratios), max(ratios)],
        **_bar(quick, at_most(1.0, value)),
    )


def made_tokenizer(base: Path) -> Any:
    """The base's."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(base)


def _profile(folder: Path, setting: Setting, much: Rounds) -> list[Row]:
    """Where a step's time goes, and how far it is from the time that its products alone would take here."""
    base, pairs = setting.save(folder / "base"), setting.pairs(much.pairs)
    trainer = ours(base, folder / "ours", setting, pairs, much.steps)
    trainer.remove_callback(PrinterCallback)
    spent = {"forward": 0.0, "backward": 0.0, "optimizer": 0.0}
    total, steps = 0.0, 0
    with contextlib.redirect_stdout(io.StringIO()):
        train_seconds(trainer)
        with _watched(trainer, spent):
            for _ in range(much.rounds):
                total += train_seconds(trainer, skip=0)[0] * much.steps
                steps += much.steps
    found = [
        Row(f"pairs.profile.{name}", f"share of a step's time: {name}", seconds / total)
        for name, seconds in spent.items()
    ]
    rest = 1 - sum(spent.values()) / total
    found.append(Row("pairs.profile.rest", "share of a step's time: data, figures, log and the trainer's loop", rest))
    rate, needed = matmul_rate(setting, setting.batch * setting.length * 3 // 2), flops(trainer, setting, pairs)
    what = (
        f"time that a step's {needed / 1e9:.1f} GFLOP would take at the {rate / 1e9:.0f} GFLOP/s that products of these shapes reach here, over the time that it "
        "takes: 1 is the limit without fewer operations"
    )
    return [*found, Row("pairs.roofline", what, needed / rate / (total / steps))]


class _OptimizerClock(TrainerCallback):
    """Adds the seconds of the optimizer's steps."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent = spent
        self.started = 0.0

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Before it."""
        self.started = perf_counter()

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """After it."""
        self.spent["optimizer"] += perf_counter() - self.started


@contextlib.contextmanager
def _watched(trainer: Any, spent: dict[str, float]) -> Iterator[None]:
    """Inside, the parts of the trainer's steps add their seconds to `spent`."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += perf_counter() - started

        return run

    clock = _OptimizerClock(spent)
    trainer.add_callback(clock)
    trainer.compute_loss = timed("forward", trainer.compute_loss)
    trainer.accelerator.backward = timed("backward", trainer.accelerator.backward)
    try:
        yield
    finally:
        del trainer.compute_loss, trainer.accelerator.backward
        trainer.remove_callback(clock)
