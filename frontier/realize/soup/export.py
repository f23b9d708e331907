"""Write one soup as a model that any tool loads: one exact LoRA, or merged weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frontier.atomic import write_text
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.lora_writing import nbytes_of, sum_of_factors, write_lora
from frontier.realize.merging import MergeReport, merge
from frontier.realize.merging.output import full_disk_is_told
from frontier.realize.replace_export import SOUP, check_out, replace_export
from frontier.realize.soup.blocks import place_of
from frontier.realize.soup.experts import Experts, part_folders, tensors_of
from frontier.realize.soup.soup import Soup


def export_lora(
    soup: Soup,
    experts: Experts,
    out: str | Path,
    base: str | None = None,
    *,
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Write a soup of LoRA experts as one PEFT LoRA folder: their factors side by side, rank Σ r and scaling 1 in every layer, no truncation.

    Coefficients that differ between blocks are exact here as well, since they go into every layer's own B. Experts of coefficient 0 add no rank to a layer.

    Args:
        soup (`Soup`): what to write.
        experts (`Experts`): LoRA folders.
        out (`str` or `Path`): the folder; it appears only when complete, in the place of an earlier export. `soup.json` in it says what it was made of.
        base (`str`, *optional*): `base_model_name_or_path` of the result; by default the experts'.
        finish (`Callable`, *optional*): is given the folder before it takes its name, to write more into it, such as a tokenizer.

    Raises:
        InputError: an expert does something that no low-rank factors describe, `out` is where one of them lies, or the disk is full.
    """
    total = sum_of_factors([p for p in experts.parts if isinstance(p, LoraFolder)], experts.factors(soup))
    out = check_out(out, folders=part_folders(experts.parts))
    with full_disk_is_told(out, nbytes_of(total), "the adapter"), replace_export(out) as folder:
        write_lora(total, folder, base=base)
        _write_record(soup, experts, folder)
        if finish is not None:
            finish(folder)


def export_merged(
    soup: Soup, experts: Experts, base: str, out: str | Path, *, overwrite: bool = False, progress: bool = True
) -> MergeReport:
    """Write a soup as a whole model, streamed by `frontier.realize.merging` in the memory of a few tensors; also for experts that are whole models.

    Args:
        soup (`Soup`): what to write.
        experts (`Experts`): over the base.
        base (`str`): its folder or hub id, with its tokenizer.
        out (`str` or `Path`): the folder; it appears only when complete.
        overwrite (`bool`, *optional*, defaults to `False`): replace a model that `out` holds.
        progress (`bool`, *optional*, defaults to `True`): show a bar.

    Raises:
        InputError: base or experts are broken or do not fit, or `out` is taken.
    """
    return merge(
        merge_config(soup, experts, base),
        out,
        overwrite=overwrite,
        progress=progress,
        finish=lambda folder: _write_record(soup, experts, folder),
    )


def merge_config(soup: Soup, experts: Experts, base: str) -> dict[str, Any]:
    """The merge of a soup in mergekit's form: task arithmetic, with a weight for every layer.

    Args:
        soup (`Soup`): what to merge.
        experts (`Experts`): over the base.
        base (`str`): its folder or hub id.
    """
    models = []
    for i, (part, folder) in enumerate(zip(experts.parts, part_folders(experts.parts), strict=True)):
        name = f"{base}+{folder}" if isinstance(part, LoraFolder) else str(folder)
        # The stems of layers, such as `model.layers.3.`, and whole names elsewhere; filters are parts of names.
        stems = {_stem(tensor): place_of(tensor) for tensor in tensors_of(part)}
        weights = [{"filter": s, "value": experts.of_parts(soup, place)[i]} for s, place in stems.items()]
        models.append({"model": name, "parameters": {"weight": [*weights, {"value": 0.0}]}})
    return {"merge_method": "task_arithmetic", "base_model": base, "models": models, "parameters": {"normalize": False}}


def record_of(soup: Soup, experts: Experts) -> dict[str, Any]:
    """What an export was made of, as JSON values."""
    folders = [str(folder) for folder in part_folders(experts.parts)]
    own = {name: [folders[p] for p in places] for name, places in zip(experts.names, experts.holds, strict=True)}
    return {"soup": soup.to_json(), "experts": own}


def _write_record(soup: Soup, experts: Experts, folder: Path) -> None:
    write_text(folder / SOUP, json.dumps(record_of(soup, experts), indent=2) + "\n")


def _stem(tensor: str) -> str:
    place = place_of(tensor)
    before, dot, _ = tensor.partition(f".{place}.")
    return f"{before}{dot}" if place.isdigit() and dot else tensor
