"""Completions per second of online training beside TRL's GRPO: the same number of completions of about the same lengths, one objective; and three, steered."""

import statistics
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.report import Row, at_least
from benchmarks.steering.timing import ratio
from benchmarks.training.online_runs import Clock, Setting, ours, quiet, trl

BAR = 1.2
# Rounds and steps in each of them.
PLAN, QUICK = (4, 2), (1, 1)
# Seconds that a judge takes for one completion, and rounds of one step with it.
JUDGE, JUDGE_ROUNDS = 0.02, 3
TINY = Setting(hidden=64, layers=1, vocabulary=256, prompt=(4, 8), mean=6, longest=12, prompts=2, group=4)
PARTS = ("rollout", "scoring", "backward")


class Limits(Protocol):
    """What the part needs of the context that it gets."""

    @property
    def scratch(self) -> Path:
        """A folder that is removed afterwards."""

    @property
    def quick(self) -> bool:
        """A small run that shows only that everything works."""


def rows(context: Limits) -> list[Row]:
    """Ratios of rates, what each technique brings, and where the time goes."""
    setting = TINY if context.quick else Setting()
    rounds, steps = QUICK if context.quick else PLAN
    out = context.scratch / "online"
    with quiet():
        base = setting.save(out / "base")
        clocks = {
            "trl": Clock(trl(base, out / "trl", setting)),
            "ours": Clock(ours(base, out / "ours", setting)),
            "steerable": Clock(ours(base, out / "steerable", setting, 3)),
            "plain": Clock(ours(base, out / "plain", setting, rollout="transformers", share_prompts=False)),
            "batched": Clock(ours(base, out / "batched", setting, share_prompts=False)),
            "shared": Clock(ours(base, out / "shared", setting, rollout="transformers")),
        }
    seconds, tokens = _measured(clocks, rounds, steps)
    where = (
        f"{setting.prompts} prompts of {setting.prompt[0]} to {setting.prompt[1]} tokens with {setting.group} completions each per step, LoRA r = 16 on all "
        f"linear layers of a Llama of {setting.layers} layers x {setting.hidden}, vocabulary {setting.vocabulary}, cut at {setting.longest} tokens, "
        f"beta > 0, float32, {torch.get_num_threads()} thread(s)"
    )
    found = []
    for name, id_, what in (
        ("ours", "online.over_trl", "one objective"),
        ("steerable", "online.steerable.over_trl", "three adapters, a preference per prompt"),
    ):
        value, spread = ratio(seconds, "trl", name)
        lengths = f"tokens per completion {tokens[name]:.1f}, TRL's {tokens['trl']:.1f}"
        text = f"completions/s over those of TRL's GRPOTrainer, {what}; {lengths}; {where}"
        found.append(Row(id_, text, value, "", spread, **at_least(BAR, value)))
        text = f"generated tokens/s over TRL's, {what}: as above with its own lengths taken out"
        found.append(Row(f"{id_}.tokens", text, value * tokens[name] / tokens["trl"]))
    rates = {name: setting.completions * steps / statistics.median(each) for name, each in seconds.items()}
    for name in ("ours", "steerable"):
        found.append(Row(f"online.rate.{name}", "median rate", rates[name], "completions/s", None, "TRL", rates["trl"]))
    for name, what in (
        ("batched", "rollouts in the batching engine: prompts of a group once, ended rows leave"),
        ("shared", "prompts of a group once in scoring and training, the output layer on completions only"),
    ):
        value, spread = ratio(seconds, "plain", name)
        found.append(Row(f"online.alone.{name}", f"steps/s over ours without either; alone: {what}", value, "", spread))
    found += _profile(clocks, seconds)
    return [*found, _overlap(base, out, setting, JUDGE_ROUNDS if not context.quick else 1)]


def _overlap(base: Path, out: Path, setting: Setting, rounds: int) -> Row:
    """What it brings to hand completions to a judge as they end."""
    with quiet():
        clocks = {
            name: Clock(ours(base, out / name, setting, wait=JUDGE, overlap_rewards=chunk))
            for name, chunk in (("after", 0), ("meanwhile", setting.group))
        }
    seconds, _ = _measured(clocks, rounds, 1)
    value, spread = ratio(seconds, "after", "meanwhile")
    text = (
        f"steps/s with a judge of {1000 * JUDGE:.0f} ms a completion, asked while others are generated (overlap_rewards {setting.group} of {setting.completions}), "
        "over asked after the rollout"
    )
    return Row("online.overlap", text, value, "", spread)


def _measured(clocks: dict[str, Clock], rounds: int, steps: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each contender in each round, in turn, and its mean tokens per completion; a first round does not count."""
    names = list(clocks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    tokens: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            if i == 0:
                clocks[name].run(1)
                clocks[name].parts.clear()
                continue
            seconds[name].append(clocks[name].run(steps))
            tokens[name] += clocks[name].tokens()
    return seconds, {name: statistics.mean(each) for name, each in tokens.items()}


def _profile(clocks: dict[str, Clock], seconds: dict[str, list[float]]) -> list[Row]:
    """Shares of a step: generating; forwards of policy and reference; backward; and what is left (rewards, optimizer, logging)."""
    names = {"rollout": "generating", "scoring": "forwards of policy and reference", "backward": "backward"}
    shares = {
        name: {part: clocks[name].parts.get(part, 0.0) / sum(seconds[name]) for part in PARTS}
        for name in ("ours", "trl")
    }
    found = [
        Row(
            f"online.{part}.share",
            f"share of a step: {what}",
            shares["ours"][part],
            "",
            None,
            "TRL",
            shares["trl"][part],
        )
        for part, what in names.items()
    ]
    left = {name: 1 - sum(each.values()) for name, each in shares.items()}
    text = "share of a step: all else (rewards, optimizer, logging)"
    return [*found, Row("online.rest.share", text, left["ours"], "", None, "TRL", left["trl"])]
