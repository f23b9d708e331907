"""Write a base with adapters at given weights as a whole model, from disk to disk, in the memory of a few pieces."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.merging.compute import default_workers, make_jobs, run_jobs
from frontier.realize.merging.merge import SHARD
from frontier.realize.merging.methods import method as find_method
from frontier.realize.merging.output import (
    ModelWriter,
    copy_companions,
    full_disk_is_told,
    merged_config,
)
from frontier.realize.merging.plan import Input, TensorPlan
from frontier.realize.merging.tokenizers import copy_tokenizer
from frontier.realize.replace_export import check_out, replace_export
from frontier.realize.weighted_source import WeightedAdapters


@dataclass(frozen=True)
class MergedExport:
    """What was written.

    Args:
        n_tensors (`int`): in the model.
        n_changed (`int`): of them, those that an adapter changes.
        nbytes (`int`): of the weights.
        n_shards (`int`): files that hold them.
        untied (`bool`): whether the output layer became a tensor of its own.
    """

    n_tensors: int
    n_changed: int
    nbytes: int
    n_shards: int
    untied: bool


def export_merged_checkpoint(
    base: Checkpoint,
    folders: Sequence[LoraFolder],
    weights: Sequence[float],
    out: str | Path,
    *,
    same_base: bool = True,
    max_shard_size: int = SHARD,
    workers: int | None = None,
    progress: bool = True,
    finish: Callable[[Path, MergedExport], object] | None = None,
) -> MergedExport:
    r"""Write $W_0 + \sum_k w_k \Delta_k$ as an ordinary transformers folder, no model in memory: pieces of the base are read, changed and written.

    Takes every adapter that `LoraFolder.delta` describes: any ranks, alphas and patterns, rsLoRA, embeddings, output layers, Conv1D, `modules_to_save`, biases and
    DoRA (each adapter's own change counts). Names, dtypes, configuration, tokenizer and chat template are the base's, so that other converters (GGUF, ...) read it as they
    read the base; where an adapter changes one of a tied pair, the two become two tensors and the configuration says so.

    Args:
        base (`Checkpoint`): safetensors, one file or several.
        folders (`Sequence[LoraFolder]`): K adapters.
        weights (`Sequence[float]`): K numbers, any sign.
        out (`str` or `Path`): the folder to write; it appears only when complete, in the place of an earlier export.
        same_base (`bool`, *optional*, defaults to `True`): refuse adapters that name different bases.
        max_shard_size (`int`, *optional*, defaults to 5 GB): bytes of one weights file.
        workers (`int`, *optional*): threads, by default one per core and 4 at most.
        progress (`bool`, *optional*, defaults to `True`): show a bar on stderr.
        finish (`Callable`, *optional*): is given the folder before it takes its name, to write a model card into it.

    Raises:
        InputError: an adapter does not fit the base, `out` is where one of them lies, a tensor is not finite, cannot be read or does not fit its dtype once it is changed, or the disk is full; names the
            tensor and the file. Nothing is left then.
    """
    if max_shard_size < 1:
        raise InputError(f"max_shard_size must be positive, found {max_shard_size}")
    out = check_out(out, base.folder, [folder.path for folder in folders])
    source = WeightedAdapters(base, folders, weights, same_base=same_base)
    method = find_method("linear")
    as_it_is = method.Parameters.of(1, {"weight": [1.0]})
    plans = [
        TensorPlan(name, layout, (Input(source, name),), None, as_it_is if layout.dtype.is_floating_point else None)
        for name, layout in sorted(source.layouts.items())
    ]
    layouts = {plan.name: plan.layout for plan in plans}
    nbytes = sum(layout.nbytes for layout in layouts.values())
    with full_disk_is_told(out, nbytes), replace_export(out) as folder:
        writer = ModelWriter(folder, layouts, max_shard_size)
        try:
            total = sum(layout.numel for layout in layouts.values())
            with tqdm(total=total, unit="param", unit_scale=True, desc="Exporting", disable=not progress) as bar:
                run_jobs(
                    make_jobs(plans, method, torch.device("cpu")),
                    method,
                    writer.write,
                    device=torch.device("cpu"),
                    workers=workers or default_workers(),
                    seed=0,
                    advance=bar.update,
                    remedy="give smaller weights, or a base in a wider dtype",
                )
            writer.finish()
        finally:
            writer.close()
        config = merged_config(base.config, list(layouts), None, None)
        write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
        copy_companions(base.folder, folder, base.config)
        copy_tokenizer(base.folder, folder)
        untied = len(source.tied) < len(base.tied)
        changed = sum(1 for name in layouts if source.changes(name))
        report = MergedExport(len(layouts), changed, nbytes, writer.n_shards, untied)
        if finish is not None:
            finish(folder, report)
    return report
