"""Turn one point of the front into a model that any tool loads: an exact concatenated LoRA, or merged weights."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from frontier.atomic import replace_folder, write_text
from frontier.realize.adapters import AdapterMixture


def export_lora(mixture: AdapterMixture, weights: Sequence[float], out: str | Path) -> None:
    """Write ΔW(w) as one ordinary PEFT LoRA folder: the experts' factors side by side, rank Σ r_k, no truncation.

    The scaling of the result is 1 (alpha = rank in every layer), since w_k s_k is already inside B. Adapters of weight zero are left out.

    Args:
        mixture (`AdapterMixture`): the K adapters over their base.
        weights (`Sequence[float]`): K weights.
        out (`str` or `Path`): the folder to write; it appears only when complete.
    """
    with replace_folder(out) as folder:
        write_lora_files(mixture, {path: mixture.factors(path, weights) for path in mixture.layers}, folder)


def write_lora_files(
    mixture: AdapterMixture, factors: Mapping[str, tuple[Tensor, Tensor] | None], folder: Path
) -> dict[str, int]:
    """Write factors of each layer's ΔW as the files of a PEFT LoRA with scaling 1.

    Args:
        mixture (`AdapterMixture`): names the base and the target layers.
        factors (`Mapping[str, tuple[Tensor, Tensor] | None]`): path of each layer to B `[d_out, r]` and A `[r, d_in]`; `None` = no change. A LoRA folder must hold every target layer, so
            that no reader reports missing keys: such a layer gets zeros of rank 1.
        folder (`Path`): exists.

    Returns:
        `dict[str, int]`: the rank of each layer.
    """
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for path, pair in factors.items():
        up, down = no_change(mixture, path) if pair is None else pair
        ranks[path] = down.shape[0]
        tensors[f"base_model.model.{path}.lora_A.weight"] = down.contiguous().cpu()
        tensors[f"base_model.model.{path}.lora_B.weight"] = up.contiguous().cpu()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write_text(folder / "adapter_config.json", json.dumps(_lora_config(mixture, ranks), indent=2) + "\n")
    return ranks


def no_change(mixture: AdapterMixture, path: str) -> tuple[Tensor, Tensor]:
    """Factors of rank 1 that change nothing."""
    layer = mixture.layers[path]
    name = next(iter(layer.lora_A))
    up, down = layer.up(name), layer.down(name)
    return up.new_zeros(up.shape[0], 1), down.new_zeros(1, down.shape[1])


def _lora_config(mixture: AdapterMixture, ranks: dict[str, int]) -> dict[str, Any]:
    first = cast("LoraConfig", mixture.model.peft_config[mixture.names[0]])
    usual = max(ranks.values())
    # Anchored full paths: a bare suffix would also match "layers.11" for "layers.1".
    unusual = {f"^{re.escape(path)}$": rank for path, rank in ranks.items() if rank != usual}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": first.base_model_name_or_path,
        "revision": first.revision,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": unusual,
        "alpha_pattern": unusual,
        "target_modules": sorted(ranks),
        "fan_in_fan_out": first.fan_in_fan_out,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }


def merged_state_dict(mixture: AdapterMixture, weights: Sequence[float]) -> dict[str, Tensor]:
    """The base model's state dict at W0 + ΔW(w), under the base model's own names; the live model is not touched.

    ΔW is summed in float64 and rounded once to the base's dtype.
    """
    merged: dict[str, Tensor] = {}
    for name, tensor in cast("nn.Module", mixture.model.base_model.model).state_dict().items():
        if ".lora_" in name:
            continue
        path, _, leaf = name.rpartition(".base_layer.")
        if not path:
            merged[name] = tensor
            continue
        factors = mixture.factors(path, weights) if leaf == "weight" else None
        if factors is not None:
            delta = factors[0].double() @ factors[1].double()
            if mixture.layers[path].fan_in_fan_out:  # GPT-2's Conv1D keeps its weight as [d_in, d_out]
                delta = delta.T
            tensor = (tensor.double() + delta).to(tensor.dtype)
        merged[f"{path}.{leaf}"] = tensor
    return merged


@torch.no_grad()
def export_merged(mixture: AdapterMixture, weights: Sequence[float], out: str | Path) -> None:
    """Write the whole model at W0 + ΔW(w) as an ordinary transformers folder (safetensors, no PEFT needed to read it).

    Where an adapter sits on an output layer that the base ties to its input embedding, only the output layer changes: the exported configuration unties the two.

    Args:
        mixture (`AdapterMixture`): the K adapters over their base.
        weights (`Sequence[float]`): K weights.
        out (`str` or `Path`): the folder to write; it appears only when complete.
    """
    base = cast("PreTrainedModel", mixture.model.get_base_model())
    merged = merged_state_dict(mixture, weights)
    with replace_folder(out) as folder:
        base.save_pretrained(folder, state_dict=dict(merged))
        if _is_untied(mixture, base, merged):
            _untie(folder / "config.json")


def _is_untied(mixture: AdapterMixture, base: "PreTrainedModel", merged: dict[str, Tensor]) -> bool:
    """Whether the merged output layer no longer is the input embedding that the base ties it to."""
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    paths = [path for path, layer in mixture.layers.items() if layer is head]
    if not paths or embedding is None or cast("Any", head).weight is not embedding.weight:
        return False
    return not torch.equal(merged[f"{paths[0]}.weight"], cast("Tensor", embedding.weight))


def _untie(path: Path) -> None:
    """Tell every reader of a configuration that output layer and input embedding are two."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in config.values():  # such as the `text_config` of a model of several
        if isinstance(part, dict) and "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = False
    # Written where it is missing too: several model types tie by default.
    config["tie_word_embeddings"] = False
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
