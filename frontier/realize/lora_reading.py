"""What stands in a PEFT LoRA folder: the check of its configuration and the sorting of its tensors into factors and the rest."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from frontier.errors import InputError

_PREFIX = "base_model.model."
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.[^.]+)??(\.(?P<leaf>weight|bias))?"
)
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(\.[^.]+)*")
# Fields that say where adapters sit, how they were initialised or trained; what they compute does not depend on them.
_IRRELEVANT = frozenset(
    [
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "megatron_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    ]
)
_UNDERSTOOD = frozenset(
    [
        "alpha_pattern",
        "bias",
        "fan_in_fan_out",
        "init_lora_weights",
        "lora_alpha",
        "lora_bias",
        "modules_to_save",
        "r",
        "rank_pattern",
        "use_dora",
        "use_rslora",
    ]
)
# Every other initialisation moves part of W0 into the adapter, so that B·A is no change of the base on disk.
_PLAIN_STARTS = (True, False, None, "true", "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraModule:
    """One adapted layer: its change is s·B·A, or a function of it and of the base's weight with DoRA.

    Args:
        up (`Tensor`): B, `[d_out, r]`, as stored.
        down (`Tensor`): A, `[r, d_in]`, as stored. Of an embedding d_in is the vocabulary and d_out the width.
        scaling (`float`): s = α/r, or α/√r with rsLoRA.
        embedding (`bool`): the layer looks rows up, so its weight is `[d_in, d_out]`.
        transposed (`bool`): the folder says that its base keeps weights as `[d_in, d_out]` (GPT-2's Conv1D).
        magnitude (`Tensor`, *optional*): DoRA's m, `[d_out]`.
        bias (`Tensor`, *optional*): of B (`lora_bias`), `[d_out]`; s times it adds to the layer's own bias.
        copy (`Tensor`, *optional*): the base's weight as PEFT saved it beside adapters of embeddings and output layers.
        certain (`bool`): `transposed` is what the layer itself says, not the folder's one flag for all layers.
    """

    up: Tensor
    down: Tensor
    scaling: float
    embedding: bool = False
    transposed: bool = False
    magnitude: Tensor | None = None
    bias: Tensor | None = None
    copy: Tensor | None = None
    certain: bool = False

    @property
    def rank(self) -> int:
        """Columns of B."""
        return self.down.shape[0]

    def factors(self, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """B `[d_out, r]` times weight·s, and A `[r, d_in]`, in float32 (float64 where the file has it)."""
        dtype = torch.promote_types(torch.promote_types(self.up.dtype, self.down.dtype), torch.float32)
        return self.up.to(dtype) * (weight * self.scaling), self.down.to(dtype)


def read_config(folder: Path) -> dict[str, Any]:
    """The object in `adapter_config.json`."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise InputError(f"{folder} is no LoRA folder: it has no adapter_config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{file} must hold an object, found {type(config).__name__}")
    return config


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Everything in `adapter_model.safetensors`, which must be finite."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        hint = ", only adapter_model.bin, a pickle, which is not read: save it again as safetensors" if pickled else ""
        raise InputError(f"{folder} has no adapter_model.safetensors{hint}")
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} cannot be read, it may be cut off or damaged: {error}") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{file}: tensor '{name}' holds NaN or infinite numbers")
    return tensors


def check_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse, by name, whatever is not known to be s·B·A, a whole tensor or DoRA."""
    if config.get("peft_type") != "LORA":
        raise InputError(f"{folder}: peft_type is {config.get('peft_type')!r}, only LORA can be read")
    missing = [field for field in ("r", "lora_alpha") if not isinstance(config.get(field), int | float)]
    if missing:
        raise InputError(
            f"{folder}: adapter_config.json needs the number {missing[0]}, found {config.get(missing[0])!r}"
        )
    # What an unknown option means is unknown too, so it must be off; a list of known bad ones would go out of date.
    found = [field for field, value in config.items() if value and field not in _IRRELEVANT | _UNDERSTOOD]
    start = config.get("init_lora_weights", True)
    if not any(start is plain or str(start).lower() == plain for plain in _PLAIN_STARTS):
        found.append(f"init_lora_weights={start}")
    if found:
        raise InputError(
            f"{folder} uses {', '.join(found)}, whose change of the base is not known to be s·B·A: train it as plain LoRA"
        )


def sort_tensors(
    folder: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Pairs of factors by module, whole tensors by name, and what else belongs to a pair."""
    pairs: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    extras: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        module, _, leaf = name.rpartition(".base_layer.")
        if factor := _FACTOR.fullmatch(name):
            if factor["leaf"] == "bias":
                extras.setdefault(factor["module"], {})["bias"] = tensor
            else:
                side = ("embedding_" if factor["embedding"] else "") + factor["side"]
                pairs.setdefault(factor["module"], {})[side] = tensor
        elif magnitude := _MAGNITUDE.fullmatch(name):
            extras.setdefault(magnitude["module"], {})["magnitude"] = tensor
        elif ".lora_" in name or ".token_adapter." in name:
            raise InputError(f"{folder}: tensor '{key}' belongs to no LoRA variant that can be read")
        elif module and leaf == "weight":
            extras.setdefault(module, {})["copy"] = tensor
        else:
            whole[f"{module}.{leaf}" if module else name] = tensor
    return pairs, whole, extras


def build_module(folder: Path, config: Mapping[str, Any], name: str, pair: Mapping[str, Tensor]) -> LoraModule:
    """The pair of one layer with the scaling that the configuration gives it."""
    embedding = "embedding_A" in pair
    sides = ("embedding_A", "embedding_B") if embedding else ("A", "B")
    for side in sides:
        if side not in pair:
            raise InputError(f"{folder}: '{name}' has no lora_{side}")
        if pair[side].dim() != 2:
            raise InputError(
                f"{folder}: lora_{side} of '{name}' has shape {tuple(pair[side].shape)}: only matrices can be read (no convolutions)"
            )
    down, up = (pair[side] for side in sides)
    rank = int(_pattern(config.get("rank_pattern"), name, config["r"]))
    alpha = float(_pattern(config.get("alpha_pattern"), name, config["lora_alpha"]))
    if down.shape[0] != rank or up.shape[1] != rank:
        raise InputError(
            f"{folder}: '{name}' must have rank {rank} by adapter_config.json, found lora_A {tuple(down.shape)} and "
            f"lora_B {tuple(up.shape)}"
        )
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    return LoraModule(up, down, scaling, embedding, bool(config.get("fan_in_fan_out")) and not embedding)


def _pattern(patterns: Mapping[str, float] | None, name: str, default: float) -> float:
    """The value of the first pattern that matches the end of a module's path, from the start or after a dot, as PEFT reads them."""
    return next((value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name)), default)
