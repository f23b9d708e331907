"""`moalign soup export`: one soup of a searched front as a model that knows nothing of moalign."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.measured_front import measured_front
from moalign.cli.output_folder import check_unused
from moalign.cli.quiet import hide_loading_bars


@dataclass
class ExportOptions:
    """Options of `moalign soup export`."""

    front: str = field(
        metadata=about("The folder that `moalign soup search` wrote, or its front.json.", positional=True)
    )
    point: int = field(
        metadata=about("Which point of the front, counted from 0, as in its table; `moalign pick --json` says `index`.")
    )
    output_dir: str = field(metadata=about("The folder to write."))
    kind: Literal["lora", "merged"] = field(
        default="lora",
        metadata=about("lora: one exact LoRA of rank sum r_k, whatever the blocks; merged: the whole model."),
    )
    base: str | None = field(default=None, metadata=about("Where the base model lies now, if it moved."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


def command() -> Command:
    """The action and its options."""
    return Command(
        "soup export",
        "Write one soup of a searched front as a plain PEFT LoRA or as a merged model, with the tokenizer; soup.json in it says what it was made of.",
        (ExportOptions,),
    )


def run(arguments: Sequence[str]) -> int:
    """Write the export."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(ExportOptions)
    front = measured_front(options.front, samples=False)
    if not 0 <= options.point < len(front.points):
        raise InputError(f"point: there is no {options.point}, the front's points are 0..{len(front.points) - 1}")
    out = check_unused(options.output_dir, options.overwrite_output_dir)
    hide_loading_bars()
    from frontier.realize.soup import Soup, export_lora, export_merged
    from moalign.loading import load_tokenizer
    from moalign.soup.record import open_record

    place = Path(options.front)
    opened = open_record(front, place.parent if place.is_file() else place, options.base)
    point = front.points[options.point]
    soup = Soup.of_point(point)
    if options.kind == "lora":
        export_lora(soup, opened.experts, out, base=opened.base, finish=load_tokenizer(opened.base).save_pretrained)
    else:
        export_merged(soup, opened.experts, opened.base, out, overwrite=options.overwrite_output_dir)
    rewards = ", ".join(f"{n} {v:.3f}" for n, v in zip(front.objectives, point.rewards, strict=True))
    kind = "one LoRA" if options.kind == "lora" else "merged weights"
    say(f"Point {options.point} ({rewards}) is in {out} ({kind}, with its tokenizer).")
    return 0
