"""`moalign export`: one point of the front, or a grid of them, as models that know nothing of moalign."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import RESULTS, check_unused
from moalign.cli.quiet import hide_loading_bars

if TYPE_CHECKING:
    from moalign.exporting.expected import ExpectedRewards
    from moalign.exporting.facts import ExportFacts
    from moalign.exporting.source import ExportSource
    from moalign.preference import Preference

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass
class ExportOptions:
    """Options of `moalign export`."""

    output_dir: str = field(metadata=about("The folder to write."))
    bundle: str | None = field(
        default=None, metadata=about("The bundle; or leave it out and give --base and --adapters.", positional=True)
    )
    preference: str | None = field(default=None, metadata=about("The point to export: helpful=0.7,brief=0.3."))
    kind: Literal["lora", "truncated", "merged"] = field(
        default="lora",
        metadata=about(
            "lora: one exact LoRA of rank sum r_k; truncated: the best LoRA of rank --rank, with its error; merged: the whole model, streamed."
        ),
    )
    rank: int | None = field(default=None, metadata=about("The rank of a truncated LoRA."))
    prompts: str | None = field(
        default=None,
        metadata=about(
            "A file of prompts on which to measure what the truncation does to the logits (loads the model)."
        ),
    )
    n_prompts: int = field(default=32, metadata=about("At most so many of them."))
    grid: int | None = field(
        default=None,
        metadata=about(
            "In place of --preference: a LoRA at each of so many weights, evenly spread, for servers that take fixed adapters (vLLM, SGLang, TGI, LoRAX)."
        ),
    )
    max_shard_size: str = field(default="5GB", metadata=about("Of one file of merged weights: 5GB, 500MB."))
    base: str | None = field(
        default=None,
        metadata=about("Where the base model lies now, if it moved: a folder, or a hub id with @REVISION."),
    )
    adapters: dict[str, str] | None = field(
        default=None,
        metadata=about("Instead of a bundle: helpful=FOLDER,brief=FOLDER, plain LoRA folders over --base."),
    )
    front: str | None = field(
        default=None, metadata=about("The front that says what to expect, by default the bundle's front.json.")
    )
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


COMMAND = Command(
    "export",
    "Write the policy at one preference as a plain PEFT LoRA (for any PEFT, vLLM or mergekit user), as a small LoRA with its error, or as a merged model, with the "
    "tokenizer and a model card that says what to expect; or, with --grid, a static set of LoRAs for servers that take fixed adapters.",
    (ExportOptions,),
    details="No model is loaded (unless --prompts asks for its logits): merging holds a few pieces of tensors in memory.",
)


def run(arguments: Sequence[str]) -> int:
    """Write the export."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(ExportOptions)
    _check(options)
    shard = parse_size(options.max_shard_size)
    objectives = tuple(options.adapters) if options.adapters else _objectives(str(options.bundle))
    preferences = _preferences(options, objectives)
    from moalign.exporting.place import check_outside_bundles

    out = check_unused(options.output_dir, options.overwrite_output_dir, names=(*RESULTS, "grid.json"))
    check_outside_bundles(out)
    hide_loading_bars()
    from moalign.exporting.source import ExportSource

    if options.adapters:
        source = ExportSource.from_adapters(str(options.base), options.adapters)
    else:
        source = ExportSource.from_bundle(str(options.bundle), options.base)
    expected = _expected(options, source)
    if options.grid is not None:
        from moalign.exporting.grid import export_grid

        grid = export_grid(source, preferences, out, options.kind, rank=options.rank, expected=expected)
        for name, facts in grid.points.items():
            lost = f"relative error {facts.truncation.relative_error:.3g}" if facts.truncation else ""
            say("  ".join(part for part in (name, _told(facts), lost) if part))
        say(
            f"{len(grid.points)} LoRAs of rank {grid.rank} are in {out}; its README.md has the commands that start servers with them."
        )
        return 0
    from moalign.exporting.point import export_point

    [preference] = preferences
    facts = export_point(
        source,
        preference,
        out,
        options.kind,
        rank=options.rank,
        measure=_measure(options, source, preference),
        expected=None if expected is None else expected(preference),
        max_shard_size=shard,
    )
    say(_summary(facts, preference, out))
    return 0


def parse_size(text: str) -> int:
    """Bytes from `5GB`, `500 MB`, `2GiB` or a plain number.

    Raises:
        InputError: it is none of these, or not positive.

    Example:
        >>> parse_size("1.5GB"), parse_size("2KiB")
        (1500000000, 2048)
    """
    kept = text.strip().upper()
    unit = next((u for u in sorted(UNITS, key=len, reverse=True) if kept.endswith(u)), "")
    try:
        size = int(float(kept.removesuffix(unit)) * UNITS.get(unit, 1))
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise InputError(f"--max_shard_size: found {text!r}, expected a size such as 5GB or 500MB")
    return size


def _check(options: ExportOptions) -> None:
    """What needs no library to be refused."""
    from moalign.exporting.kinds import check_kind

    if (options.bundle is None) == (options.adapters is None):
        raise InputError(
            "moalign export needs BUNDLE, or --base and --adapters helpful=FOLDER,brief=FOLDER instead of it"
        )
    if options.adapters is not None and options.base is None:
        raise InputError("--adapters needs --base, the model that they were trained on")
    if (options.preference is None) == (options.grid is None):
        raise InputError(
            "moalign export needs --preference (the point to export: helpful=0.7,brief=0.3) or --grid (how many points), one of the two"
        )
    check_kind(options.kind, options.rank)
    if options.grid is not None and options.kind == "merged":
        raise InputError(
            "a grid is a set of adapters: give --kind lora or truncated, or export merged points one by one"
        )
    if options.prompts is not None and (options.kind != "truncated" or options.grid is not None):
        raise InputError(
            "--prompts measures what a truncation loses at one point: give --kind truncated, --rank and --preference"
        )


def _objectives(bundle: str) -> tuple[str, ...]:
    from moalign.bundle import read_manifest

    return read_manifest(bundle).objectives


def _preferences(options: ExportOptions, objectives: Sequence[str]) -> "list[Preference]":
    if options.grid is not None:
        from moalign.exporting.grid import grid_preferences

        return grid_preferences(objectives, options.grid)
    from moalign.preference import Preference

    return [Preference.coerce(str(options.preference), objectives)]


def _expected(options: ExportOptions, source: "ExportSource") -> "ExpectedRewards | None":
    """What the measured front says, where there is one that was measured on these adapters."""
    file = (
        Path(options.front) if options.front else Path(str(options.bundle)) / "front.json" if options.bundle else None
    )
    if file is None or (options.front is None and not file.is_file()):
        return None
    from moalign.cli.measured_front import measured_front
    from moalign.cli.verbs.front import adapters_digest
    from moalign.exporting.expected import ExpectedRewards

    front = measured_front(file, samples=True)
    measured = front.info.get("adapters_sha256")
    if measured and measured != adapters_digest(source.manifest):
        logging.getLogger("moalign").warning(
            "%s was measured on other adapters than these: the card will not say what to expect", file
        )
        return None
    return ExpectedRewards(front)


def _measure(options: ExportOptions, source: "ExportSource", preference: "Preference") -> Any:
    if options.prompts is None:
        return None
    from moalign.cli.sources import distinct_prompts
    from moalign.data import read_prompts
    from moalign.exporting.live import logit_measure
    from moalign.exporting.source import split_revision
    from moalign.policy import SteerablePolicy

    prompts = distinct_prompts(read_prompts(options.prompts).dataset["prompt"], options.n_prompts)
    base, revision = (None, None) if options.base is None else split_revision(options.base)
    named: dict[str, Any] = {} if revision is None else {"revision": revision}
    if options.adapters:
        policy = SteerablePolicy.from_pretrained(str(base), adapters=options.adapters, **named)
    else:
        policy = SteerablePolicy.from_pretrained(str(options.bundle), base=base, **named)
    return logit_measure(policy, source.weights(preference), prompts)


def _told(facts: "ExportFacts") -> str:
    """Expected rewards in a line."""
    parts = []
    if facts.expected is not None:
        for name, reward in facts.expected.rewards.items():
            interval = facts.expected.interval(name)
            parts.append(f"{name} {reward:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""))
    return ", ".join(parts)


def _summary(facts: "ExportFacts", preference: "Preference", out: Path) -> str:
    what = {"lora": "one LoRA", "truncated": f"one LoRA of rank {facts.rank}", "merged": "merged weights"}[facts.kind]
    lines = [f"The policy at {preference} is in {out} ({what}, with its tokenizer and a model card)."]
    if facts.expected is not None:
        lines += [f"Expected rewards ({facts.expected.how}, 95 % intervals): {_told(facts)}"]
    lost = facts.truncation
    if lost is not None:
        worst, layer = max(lost.layers.items(), key=lambda item: item[1].error)
        share = layer.error / layer.norm if layer.norm else 0.0
        lines.append(
            f"Truncated to rank {facts.rank}: relative error {lost.relative_error:.3g} of all layers together, most in {worst} ({share:.3g}); truncation.json has all."
        )
        if lost.logits is not None:
            found = lost.logits
            lines.append(
                f"Logits on {found.prompts} prompts: KL {found.kl_mean:.3g} nats a token on average, {found.kl_max:.3g} at most, relative error "
                f"{found.relative_error:.3g}, {found.share_of_change:.1%} of what the adapters change."
            )
    return "\n".join(lines)
