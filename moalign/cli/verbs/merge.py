"""`moalign merge`: models, or models with adapters, into one, from a configuration in mergekit's form."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused

CONFIG = "--config"


@dataclass
class MergeOptions:
    """Options of `moalign merge`."""

    recipe: str = field(
        metadata=about("What to merge, a YAML file in mergekit's form; also given as --config.", positional=True)
    )
    output_dir: str = field(metadata=about("The folder to write."))
    device: str = field(default="cpu", metadata=about("Where to compute: cpu, cuda, cuda:1."))
    workers: int | None = field(default=None, metadata=about("Threads, by default one per core and 4 at most."))
    seed: int = field(default=0, metadata=about("Of methods that draw at random (dare_*, della*)."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


COMMAND = Command(
    "merge",
    "Merge whole models, or models with LoRA adapters on them (BASE+LORA), into one model: linear, slerp, task arithmetic, TIES, DARE and more. "
    "Reads and writes safetensors tensor by tensor, so that memory holds a few tensors and no model.",
    (MergeOptions,),
    details="The file has mergekit's keys: models (or slices), merge_method, base_model, parameters, dtype, out_dtype, tokenizer_source. For this verb "
    "--config is that file, so the options above stand on the command line.\n"
    "examples/merge.yaml is one to start from.",
)


def run(arguments: Sequence[str]) -> int:
    """Write the merged model."""
    values = parse(COMMAND, _with_recipe(arguments))
    if values is None:
        return 0
    options = values.build(MergeOptions)
    # Before the libraries are imported, which takes seconds.
    if not os.path.isfile(options.recipe):
        raise InputError(f"{options.recipe}: no such file; name the YAML file that says what to merge")
    out = check_unused(options.output_dir, options.overwrite_output_dir)
    from frontier.realize.merging import merge

    report = merge(
        options.recipe,
        out,
        device=options.device,
        workers=options.workers,
        seed=options.seed,
        overwrite=options.overwrite_output_dir,
    )
    for note in report.notes:
        say(f"note: {note}")
    say(
        f"{report.method} of {report.n_models} models is in {report.path}: {report.n_parameters:,} parameters, {report.nbytes / 1e9:.3g} GB in "
        f"{report.n_shards} file{'s' * (report.n_shards != 1)}, {report.seconds:.1f} s."
    )
    return 0


def _with_recipe(arguments: Sequence[str]) -> list[str]:
    """`--config FILE` as the recipe: elsewhere that is a flat file of options, here it is what to merge."""
    made: list[str] = []
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        flag, equals, value = token.partition("=")
        if flag != CONFIG:
            made.append(token)
        elif equals:
            made += ["--recipe", value]
        else:
            made.append("--recipe")
    return made
