"""Write one soup as a model that any tool loads: one exact LoRA, or merged weights."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from frontier.atomic import replace_folder, write_text
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.merging import MergeReport, merge
from frontier.realize.soup.blocks import place_of
from frontier.realize.soup.experts import Experts, part_folders, tensors_of
from frontier.realize.soup.soup import Soup

RECORD = "soup.json"


def export_lora(soup: Soup, experts: Experts, out: str | Path, base: str | None = None) -> None:
    """Write a soup of LoRA experts as one PEFT LoRA folder: their factors side by side, rank Σ r and scaling 1 in every layer, no truncation.

    Coefficients that differ between blocks are exact here as well, since they go into every layer's own B. Experts of coefficient 0 add no rank to a layer.

    Args:
        soup (`Soup`): what to write.
        experts (`Experts`): LoRA folders.
        out (`str` or `Path`): the folder; it appears only when complete. `soup.json` in it says what it was made of.
        base (`str`, *optional*): `base_model_name_or_path` of the result; by default the experts'.

    Raises:
        InputError: an expert does something that no low-rank factors describe.
    """
    factors = experts.factors(soup)
    folders = [part for part in experts.parts if isinstance(part, LoraFolder)]
    modules = {name: module for folder in reversed(folders) for name, module in folder.modules.items()}
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, pair in factors.items():
        lora = modules[name]
        # A LoRA folder must hold every target, or readers report missing keys.
        up, down = pair or (torch.zeros(lora.up.shape[0], 1), torch.zeros(1, lora.down.shape[1]))
        ranks[name] = down.shape[0]
        side = "lora_embedding_{}" if lora.embedding else "lora_{}.weight"
        tensors[f"base_model.model.{name}.{side.format('A')}"] = down.contiguous()
        tensors[f"base_model.model.{name}.{side.format('B')}"] = up.contiguous()
    with replace_folder(out) as folder:
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = _lora_config(folders, ranks, base)
        write_text(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")
        write_text(folder / RECORD, json.dumps(record_of(soup, experts), indent=2) + "\n")


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
    report = merge(merge_config(soup, experts, base), out, overwrite=overwrite, progress=progress)
    write_text(Path(out) / RECORD, json.dumps(record_of(soup, experts), indent=2) + "\n")
    return report


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


def _stem(tensor: str) -> str:
    place = place_of(tensor)
    before, dot, _ = tensor.partition(f".{place}.")
    return f"{before}{dot}" if place.isdigit() and dot else tensor


def _lora_config(folders: list[LoraFolder], ranks: Mapping[str, int], base: str | None) -> dict[str, Any]:
    usual = max(ranks.values())
    # Anchored full paths: a bare suffix would also match "layers.11" for "layers.1".
    unusual = {f"^{re.escape(path)}$": rank for path, rank in ranks.items() if rank != usual}
    first = folders[0]
    return {
        "peft_type": "LORA",
        "task_type": first.config.get("task_type", "CAUSAL_LM"),
        "base_model_name_or_path": base or first.base,
        "revision": None if base else first.revision,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": unusual,
        "alpha_pattern": unusual,
        "target_modules": sorted(ranks),
        "fan_in_fan_out": any(bool(folder.config.get("fan_in_fan_out")) for folder in folders),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }
