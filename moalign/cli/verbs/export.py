"""`moalign export`: one point of the front as a model that knows nothing of moalign."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused
from moalign.cli.quiet import hide_loading_bars


@dataclass
class ExportOptions:
    """Options of `moalign export`."""

    bundle: str = field(metadata=about("The bundle.", positional=True))
    preference: str = field(metadata=about("The point to export: helpful=0.7,brief=0.3."))
    output_dir: str = field(metadata=about("The folder to write."))
    kind: Literal["lora", "merged"] = field(
        default="lora", metadata=about("lora: one exact LoRA of rank sum r_k; merged: the whole model.")
    )
    base: str | None = field(default=None, metadata=about("Where the base model lies now, if it moved."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


COMMAND = Command(
    "export",
    "Write the policy at one preference as a plain PEFT LoRA (for any PEFT, vLLM or mergekit user) or as a merged model, with the tokenizer.",
    (ExportOptions,),
)


def run(arguments: Sequence[str]) -> int:
    """Write the export."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(ExportOptions)
    from moalign.bundle import is_bundle, read_manifest
    from moalign.preference import Preference

    preference = Preference.coerce(options.preference, read_manifest(options.bundle).objectives)
    out = check_unused(options.output_dir, options.overwrite_output_dir)
    if is_bundle(out) or any(is_bundle(parent) for parent in Path(out).absolute().parents):
        raise InputError(
            f"output_dir {out} lies in a bundle: an export would be taken for a part of it; name another folder"
        )
    hide_loading_bars()
    from moalign.policy import SteerablePolicy

    policy = SteerablePolicy.from_pretrained(options.bundle, base=options.base)
    policy.export(preference, out, options.kind)
    say(
        f"The policy at {preference} is in {out} ({'one LoRA' if options.kind == 'lora' else 'merged weights'}, with its tokenizer)."
    )
    return 0
