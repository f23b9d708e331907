"""Write a weighted sum of LoRA adapters as one more LoRA folder, one that plain PEFT and fixed-adapter servers load."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder, mix, mix_deltas
from frontier.realize.lora_reading import LoraModule
from frontier.realize.merging.tensor_files import Layout, TensorFileWriter

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
Factors = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LoraSum:
    r"""$\sum_k w_k \Delta_k$ as the parts of one LoRA with scaling 1.

    Args:
        factors (`Mapping[str, tuple[Tensor, Tensor]]`): by module: B `[d_out, Σ r_k]`, holding $w_k s_k$, and A `[Σ r_k, d_in]`, in PEFT's orientation.
        untouched (`Mapping[str, tuple[Tensor, Tensor]]`): modules that only adapters of weight 0 touch: factors of rank 1 that change nothing.
        embeddings (`frozenset[str]`): the modules that look rows up.
        whole (`Mapping[str, Tensor]`): by tensor name, what `modules_to_save` becomes: the base's own plus the weighted changes.
        fan_in_fan_out (`bool`): what the adapters say of their base's layers.
        base (`str`, *optional*): what they call their base.
        revision (`str`, *optional*): of it.
    """

    factors: Factors
    untouched: Factors
    embeddings: frozenset[str]
    whole: Mapping[str, Tensor]
    fan_in_fan_out: bool
    base: str | None
    revision: str | None

    @property
    def all_factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Those of every module that any adapter touches, so that no reader reports missing keys."""
        return dict(sorted({**self.untouched, **self.factors}.items()))


def sum_as_lora(
    folders: Sequence[LoraFolder], weights: Sequence[float], base: Mapping[str, Tensor], *, same_base: bool = True
) -> LoraSum:
    """The exact sum of adapters as one LoRA: factors side by side, rank Σ r_k, whole tensors as the base's own plus their weighted changes.

    Args:
        folders (`Sequence[LoraFolder]`): K adapters.
        weights (`Sequence[float]`): K numbers, any sign; one of weight 0 adds no rank.
        base (`Mapping[str, Tensor]`): the base's tensors by name; only shapes are looked at where there are no whole tensors. A lazy mapping reads no more than that.
        same_base (`bool`, *optional*, defaults to `True`): refuse folders that name different bases.

    Raises:
        InputError: an adapter of non-zero weight does something that no LoRA folder holds at weights (DoRA, biases, a vocabulary saved with it), does not fit the base, or
            numbers of folders and weights differ.
    """
    used = [folder for folder, weight in zip(folders, weights, strict=True) if weight != 0]
    for folder in used:
        _check_low_rank(folder, base)
    folders = [_without_copies(f, base) if any(f is u for u in used) else f for f in folders]
    used = [folder for folder, weight in zip(folders, weights, strict=True) if weight != 0]
    whole_names = dict.fromkeys(name for folder in used for name in folder.whole)
    # A layer stored whole by one adapter and with factors by another is stored whole: its factors are a part of the change.
    taken = {name.rpartition(".")[0] for name in whole_names if name.endswith(".weight")}
    thin = [
        replace(f, modules={n: m for n, m in f.modules.items() if n not in taken}, whole={})
        if any(f is u for u in used)
        else f
        for f in folders
    ]
    factors = mix(thin, weights, same_base=same_base)
    untouched = {
        name: no_change(module)
        for folder in folders
        for name, module in folder.modules.items()
        if name not in factors and name not in taken
    }
    whole = {}
    if whole_names:
        for name, change in mix_deltas(folders, weights, base, same_base=same_base):
            if name in whole_names or name.rpartition(".")[0] in taken:
                whole[name] = base[name].to(change.dtype) + change
    return LoraSum(
        factors,
        untouched,
        **_of_all(folders),
        whole=whole,
    )


def sum_of_factors(folders: Sequence[LoraFolder], factors: Mapping[str, tuple[Tensor, Tensor] | None]) -> LoraSum:
    """Factors that were mixed elsewhere, such as with other weights in every layer, as one LoRA.

    Args:
        folders (`Sequence[LoraFolder]`): the adapters that they were mixed of, all of low rank.
        factors (`Mapping[str, tuple[Tensor, Tensor] | None]`): by module: B and A as in `LoraSum`; `None` changes nothing.
    """
    modules = {name: module for folder in folders for name, module in folder.modules.items()}
    return LoraSum(
        {name: pair for name, pair in factors.items() if pair is not None},
        {name: no_change(modules[name]) for name, pair in factors.items() if pair is None},
        **_of_all(folders),
        whole={},
    )


def no_change(module: LoraModule) -> tuple[Tensor, Tensor]:
    """Factors of rank 1 for a module that change nothing: a LoRA folder must hold every target, or readers report missing keys."""
    up, down = module.up, module.down
    return up.new_zeros(up.shape[0], 1).float(), down.new_zeros(1, down.shape[1]).float()


def _of_all(folders: Sequence[LoraFolder]) -> dict[str, Any]:
    """What a sum takes over from its adapters."""
    return {
        "embeddings": frozenset(
            name for folder in folders for name, module in folder.modules.items() if module.embedding
        ),
        "fan_in_fan_out": any(bool(folder.config.get("fan_in_fan_out")) for folder in folders),
        "base": folders[0].base,
        "revision": folders[0].revision,
    }


def _check_low_rank(folder: LoraFolder, base: Mapping[str, Tensor]) -> None:
    """Refuse, by name, what no LoRA folder holds; the shapes of the rest are those of the base."""
    for name in folder.whole:
        if not _is_saved_whole(folder, name) and not _is_copy(folder.whole[name], base.get(name)):
            if name.endswith(".bias"):
                raise _not_a_lora(folder, name, "a trained bias")
            raise _not_the_bases(folder, name)
    for name, module in folder.modules.items():
        tensor = f"{name}.weight"
        if module.magnitude is not None:
            raise _not_a_lora(folder, tensor, "DoRA")
        if module.bias is not None:
            raise _not_a_lora(folder, tensor, "lora_bias")
        replace(folder, modules={**folder.modules, name: replace(module, copy=None)}).product(tensor, base)
        if module.copy is not None and not _is_copy(module.copy, base.get(tensor)):
            raise _not_the_bases(folder, tensor)


def _is_saved_whole(folder: LoraFolder, name: str) -> bool:
    return any(name.rpartition(".")[0].endswith(key) for key in folder.config.get("modules_to_save") or [])


def _is_copy(tensor: Tensor, original: Tensor | None) -> bool:
    if original is None or tensor.shape != original.shape:
        return False
    return torch.equal(tensor, original.to(tensor.dtype).cpu())


def _without_copies(folder: LoraFolder, base: Mapping[str, Tensor]) -> LoraFolder:
    """Without the base's own vocabulary, which PEFT saves beside an adapter after it was resized (or where it was told to)."""
    kept = {n: t for n, t in folder.whole.items() if _is_saved_whole(folder, n) or not _is_copy(t, base.get(n))}
    return replace(folder, whole=kept)


def _not_the_bases(folder: LoraFolder, tensor: str) -> InputError:
    return InputError(
        f"{folder.path}: holds a copy of '{tensor}' that is not the base's: this is not the adapter's base, or the tensor was trained or resized, "
        "which only merged weights can hold (kind merged)"
    )


def _not_a_lora(folder: LoraFolder, tensor: str, what: str) -> InputError:
    return InputError(
        f"{folder.path} changes '{tensor}' by {what}, which no LoRA folder holds at other weights than its own: export merged weights (kind merged)"
    )


def nbytes_of(total: LoraSum) -> int:
    """What the weights of a LoRA take on the disk."""
    tensors = [t for pair in total.all_factors.values() for t in pair]
    return sum(t.numel() * t.element_size() for t in [*tensors, *total.whole.values()])


def write_lora(
    total: LoraSum,
    folder: Path,
    *,
    factors: Factors | None = None,
    base: str | None = None,
    revision: str | None = None,
    uniform: bool = False,
    tensors: Sequence[str] | None = None,
) -> dict[str, int]:
    """Write a sum as the files of one PEFT LoRA with scaling 1 (alpha = rank in every layer).

    Args:
        total (`LoraSum`): what to write.
        folder (`Path`): exists.
        factors (`Mapping[str, tuple[Tensor, Tensor]]`, *optional*): others in place of the sum's own, such as truncated ones.
        base (`str`, *optional*): how the configuration names the base, with its `revision`; by default as the adapters do.
        revision (`str`, *optional*): of the base.
        uniform (`bool`, *optional*, defaults to `False`): fill every layer up to the largest rank with zeros, for servers that know one rank for an adapter.
        tensors (`Sequence[str]`, *optional*): the base's tensor names; with them modules are named by their last part where that means no others.

    Returns:
        `dict[str, int]`: the rank of each layer.

    Raises:
        OSError: no room.
    """
    pairs = dict(total.all_factors if factors is None else factors)
    ranks = {path: down.shape[0] for path, (_, down) in pairs.items()}
    if uniform and ranks:
        most = max(ranks.values())
        pairs = {path: _filled(pair, most) for path, pair in pairs.items()}
        ranks = dict.fromkeys(ranks, most)
    held: dict[str, Tensor] = {}
    for path, (up, down) in pairs.items():
        for side, tensor in (("A", down), ("B", up)):
            leaf = f"lora_embedding_{side}" if path in total.embeddings else f"lora_{side}.weight"
            held[f"base_model.model.{path}.{leaf}"] = tensor
    held |= {f"base_model.model.{name}": tensor for name, tensor in total.whole.items()}
    layouts = {name: Layout(tuple(tensor.shape), tensor.dtype) for name, tensor in held.items()}
    writer = TensorFileWriter(folder / WEIGHTS, layouts)
    try:
        for name, tensor in held.items():
            writer.write(name, 0, tensor.detach().cpu())
    finally:
        writer.close()
    targets = _short(sorted(ranks), tensors) if tensors is not None else sorted(ranks)
    named = (total.base, total.revision) if base is None else (base, revision)
    write_text(folder / CONFIG, json.dumps(_config(total, ranks, targets, *named), indent=2) + "\n")
    return ranks


def _config(
    total: LoraSum, ranks: Mapping[str, int], targets: Sequence[str], base: str | None, revision: str | None
) -> dict[str, Any]:
    usual = max(ranks.values(), default=1)
    # Anchored full paths: a bare suffix would also match "layers.11" for "layers.1".
    unusual = {f"^{re.escape(path)}$": rank for path, rank in ranks.items() if rank != usual}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": unusual,
        "alpha_pattern": unusual,
        "target_modules": list(targets),
        "modules_to_save": sorted({name.rpartition(".")[0] for name in total.whole}) or None,
        "fan_in_fan_out": total.fan_in_fan_out,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "inference_mode": True,
    }


def _filled(pair: tuple[Tensor, Tensor], rank: int) -> tuple[Tensor, Tensor]:
    up, down = pair
    missing = rank - down.shape[0]
    return (
        torch.cat([up, up.new_zeros(up.shape[0], missing)], dim=1),
        torch.cat([down, down.new_zeros(missing, down.shape[1])], dim=0),
    )


def _short(paths: Sequence[str], tensors: Sequence[str]) -> list[str]:
    """Last parts of the paths, as most adapters name them, where the base has no other module of that name; some servers know no full paths."""
    every = {name.removesuffix(".weight") for name in tensors if name.endswith(".weight")}
    lasts = {path.rpartition(".")[2] for path in paths}
    alike = {module for module in every if module.rpartition(".")[2] in lasts}
    return sorted(lasts) if alike == set(paths) else list(paths)
