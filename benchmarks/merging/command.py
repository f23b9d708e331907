"""The whole command, from a shell's point of view: libraries loaded, models merged, folder written."""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import torch
import yaml

from benchmarks.merging.context import Context, no_mergekit
from benchmarks.merging.engines import OURS, ROOT, THEIRS, environment, ratio
from benchmarks.report import Row, at_most

BAR = 0.6


def rows(context: Context) -> list[Row]:
    """A linear merge by `moalign merge` and by `mergekit-yaml`, in turn."""
    recipe = context.scratch / "linear.yaml"
    recipe.write_text(yaml.safe_dump(context.recipe("linear", torch.float32)), encoding="utf-8")
    outs = {name: context.scratch / f"out-{name}" for name in (OURS, THEIRS)}
    commands = {OURS: [sys.executable, "-m", "moalign", "merge", str(recipe), "--output_dir", str(outs[OURS])]}
    if context.mergekit:
        module = [str(context.mergekit), "-m", "mergekit.scripts.run_yaml"]
        commands[THEIRS] = [*module, str(recipe), str(outs[THEIRS]), "--no-copy-tokenizer"]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(1 + context.rounds()):
        for name, command in commands.items():
            taken = _timed(command, outs[name], ROOT if name == OURS else None)
            if turn:  # the first brings the files into the system's memory
                seconds[name].append(taken)
    ours = statistics.median(seconds[OURS])
    if THEIRS not in seconds:
        return [no_mergekit("command.time_ratio"), Row("command.seconds", "moalign merge, linear", ours, "s")]
    value, spread = ratio(seconds[OURS], seconds[THEIRS])
    theirs = statistics.median(seconds[THEIRS])
    return [
        Row(
            "command.time_ratio",
            f"moalign merge against mergekit-yaml, linear of 3 models in float32: {ours:.2f} s against {theirs:.2f} s, medians of {context.rounds()} rounds in turn",
            value,
            interval=spread,
            peer="mergekit-yaml, s",
            peer_value=theirs,
            **({} if context.quick else at_most(BAR, value)),
        )
    ]


def _timed(command: list[str], out: Path, path: Path | None) -> float:
    shutil.rmtree(out, ignore_errors=True)
    started = perf_counter()
    done = subprocess.run(command, env=environment(path), capture_output=True, text=True, check=False)
    taken = perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {done.stderr[-2000:]}")
    return taken
