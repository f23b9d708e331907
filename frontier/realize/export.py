"""Turn one point of the front into a model that any tool loads, from a model in memory: an exact concatenated LoRA, or merged weights.

`merged_export` does the latter from files, without a model in memory; `lora_writing` writes a LoRA from folders.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor
from transformers import PreTrainedModel

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture
from frontier.realize.lora_folder import LoraFolder, mix_deltas
from frontier.realize.lora_writing import LoraSum, nbytes_of, sum_as_lora, write_lora
from frontier.realize.merging.output import full_disk_is_told
from frontier.realize.replace_export import check_out, replace_export


def base_tensors(model: PeftModel) -> dict[str, Tensor]:
    """The tensors of the model under the adapters, by the names that it has without any; tied names share one tensor."""
    found: dict[str, Tensor] = {}
    for name, tensor in cast("PreTrainedModel", model.get_base_model()).state_dict().items():
        if not any(part in name for part in (".lora_", ".modules_to_save.", ".token_adapter.")):
            found[name.replace(".base_layer.", ".").replace(".original_module.", ".")] = tensor
    return found


def base_folder(mixture: AdapterMixture) -> str | None:
    """Where the model under the adapters was read from: a folder, a hub id, or `None` where it was made in memory."""
    return getattr(mixture.model.get_base_model().config, "name_or_path", None) or None


def adapters_of(mixture: AdapterMixture) -> list[LoraFolder]:
    """The K adapters of a model in memory, as if they had been saved and read again.

    Raises:
        InputError: an adapter is not finite, or does something that `LoraFolder` refuses.
    """
    folders = []
    for name in mixture.names:
        tensors = get_peft_model_state_dict(mixture.model, adapter_name=name, save_embedding_layers=False)
        for key, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise InputError(f"adapter '{name}': tensor '{key}' holds NaN or infinite numbers")
        cpu = {key: tensor.detach().cpu() for key, tensor in tensors.items()}
        folder = LoraFolder.of(name, mixture.model.peft_config[name].to_dict(), cpu)
        # PEFT's configuration has one flag for all layers, where the layers themselves may differ.
        modules = {
            path: replace(module, transposed=_is_transposed(mixture.model, path), certain=True)
            for path, module in folder.modules.items()
        }
        folders.append(replace(folder, modules=modules))
    return folders


def _is_transposed(model: PeftModel, path: str) -> bool:
    return bool(getattr(cast("PreTrainedModel", model.get_base_model()).get_submodule(path), "fan_in_fan_out", False))


def mixture_as_lora(mixture: AdapterMixture, weights: Sequence[float]) -> LoraSum:
    """The exact ΔW(w) of a model in memory as one LoRA; see `sum_as_lora`."""
    # One model holds them all, whatever their folders once called it.
    return sum_as_lora(adapters_of(mixture), weights, base_tensors(mixture.model), same_base=False)


@torch.no_grad()
def export_lora(mixture: AdapterMixture, weights: Sequence[float], out: str | Path) -> None:
    """Write ΔW(w) as one ordinary PEFT LoRA folder: the experts' factors side by side, rank Σ r_k, no truncation.

    The scaling of the result is 1 (alpha = rank in every layer), since w_k s_k is already inside B. Adapters of weight zero are left out.

    Args:
        mixture (`AdapterMixture`): the K adapters over their base.
        weights (`Sequence[float]`): K weights.
        out (`str` or `Path`): the folder to write; it appears only when complete, in the place of an earlier export.

    Raises:
        InputError: an adapter does what no LoRA folder holds (DoRA, biases), `out` is the base's folder, or the disk is full.
    """
    out = check_out(out, base_folder(mixture))
    total = mixture_as_lora(mixture, weights)
    with full_disk_is_told(out, nbytes_of(total), "the adapter"), replace_export(out) as folder:
        write_lora(total, folder)


def merged_state_dict(mixture: AdapterMixture, weights: Sequence[float]) -> dict[str, Tensor]:
    """The base model's state dict at W0 + ΔW(w), under the base model's own names; the live model is not touched.

    Every adapter that `LoraFolder.delta` describes is taken. Sums are in float64 and rounded once to the base's dtype; tensors that no adapter changes are the live ones.

    Raises:
        InputError: a tensor is not finite in the base's dtype, or see `adapters_of`.
    """
    merged = base_tensors(mixture.model)
    originals = {name: tensor.detach().cpu() for name, tensor in merged.items()}
    for name, change in mix_deltas(adapters_of(mixture), weights, originals, same_base=False):
        exact, dtype = originals[name].double() + change.double(), merged[name].dtype
        merged[name] = exact.to(dtype)
        if not torch.isfinite(merged[name]).all():
            raise InputError(
                f"tensor '{name}': the merged values are not finite in {str(dtype).removeprefix('torch.')} (largest magnitude "
                f"{exact.abs().max().item():.3g}): give smaller weights, or a base in a wider dtype"
            )
    return merged


@torch.no_grad()
def export_merged(
    mixture: AdapterMixture,
    weights: Sequence[float],
    out: str | Path,
    *,
    max_shard_size: int | str = "5GB",
    finish: Callable[[Path], object] | None = None,
) -> None:
    """Write the whole model at W0 + ΔW(w) as an ordinary transformers folder (safetensors, no PEFT needed to read it), from a model in memory.

    Where an adapter sits on an output layer that the base ties to its input embedding, only the output layer changes: the exported configuration unties the two.

    Args:
        mixture (`AdapterMixture`): the K adapters over their base.
        weights (`Sequence[float]`): K weights.
        out (`str` or `Path`): the folder to write; it appears only when complete, in the place of an earlier export.
        max_shard_size (`int` or `str`, *optional*, defaults to 5 GB): of one weights file.
        finish (`Callable`, *optional*): is given the folder before it takes its name, to write a model card into it.

    Raises:
        InputError: `out` is the base's folder, a merged tensor is not finite, or the disk is full.
    """
    out = check_out(out, base_folder(mixture))
    base = cast("PreTrainedModel", mixture.model.get_base_model())
    merged = merged_state_dict(mixture, weights)
    nbytes = sum(t.numel() * t.element_size() for t in merged.values())
    with full_disk_is_told(out, nbytes), replace_export(out) as folder:
        base.save_pretrained(folder, state_dict=dict(merged), max_shard_size=max_shard_size)
        if _is_untied(base_tensors(mixture.model), merged):
            _untie(folder / "config.json")
        if finish is not None:
            finish(folder)


def _is_untied(before: dict[str, Tensor], merged: dict[str, Tensor]) -> bool:
    """Whether of two names that shared one tensor only one still has it."""
    shared: dict[int, list[str]] = {}
    for name, tensor in before.items():
        if tensor.numel():
            shared.setdefault(tensor.data_ptr(), []).append(name)
    return any(len({merged[name].data_ptr() for name in names}) > 1 for names in shared.values())


def _untie(path: Path) -> None:
    """Tell every reader of a configuration that output layer and input embedding are two."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in config.values():  # such as the `text_config` of a model of several
        if isinstance(part, dict) and "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = False
    # Written where it is missing too: several model types tie by default.
    config["tie_word_embeddings"] = False
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
