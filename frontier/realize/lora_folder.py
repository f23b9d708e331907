"""Read a PEFT LoRA folder without a model: its factors, its scalings and the exact change of every tensor that it touches."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.lora_reading import (
    LoraModule,
    build_module,
    check_config,
    read_config,
    read_tensors,
    sort_tensors,
)


@dataclass(frozen=True)
class LoraFolder:
    r"""A LoRA on disk: what it adds to every tensor of its base, exactly, as PEFT would compute it.

    Plain LoRA (any rank and alpha pattern, rsLoRA, `lora_bias`, linear layers, Conv1D, output layers, embeddings) is
    $\Delta W = s B A$ and needs no base. Three things are exact as soon as the base's tensors are given:

    - `modules_to_save` and trained biases, stored as whole tensors: $\Delta W = W - W_0$;
    - DoRA: $\Delta W = m \odot (W_0 + s B A) / \lVert W_0 + s B A \rVert_\mathrm{row} - W_0$
      ([Liu et al., 2024](https://huggingface.co/papers/2402.09353)), which no low-rank product describes;
    - copies of base weights that PEFT stores beside adapters of embeddings and output layers: without a base they are taken
      for what they are in an untouched vocabulary, copies.

    Everything else (other adapter types, `target_parameters`, `trainable_token_indices`, `layer_replication`, PiSSA-like starts,
    activated LoRA, QALoRA, ..., and any option that this reader does not know) is refused by name.

    Where the base ties its output layer to its input embedding, an adapter of one changes that one only, as in the running PEFT model: whoever merges
    must untie them.

    Names are the base model's module paths (`model.layers.0.self_attn.q_proj`) and tensor names (`....q_proj.weight`).

    Args:
        path (`Path`): the folder.
        base (`str`, *optional*): what `base_model_name_or_path` says.
        revision (`str`, *optional*): of the base.
        config (`Mapping[str, Any]`): the whole `adapter_config.json`.
        modules (`Mapping[str, LoraModule]`): by module path.
        whole (`Mapping[str, Tensor]`): tensors stored whole, by tensor name.

    Example:
        ```python
        folder = LoraFolder.read("adapters/helpful")
        folder.delta("model.layers.0.self_attn.q_proj")  # [d_out, d_in], float32
        ```
    """

    path: Path
    base: str | None
    revision: str | None
    config: Mapping[str, Any]
    modules: Mapping[str, LoraModule]
    whole: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: str | Path) -> "LoraFolder":
        """Read `adapter_config.json` and `adapter_model.safetensors`.

        Raises:
            InputError: a file is missing or broken, the adapter is no LoRA or one whose sum has no exact form, a tensor is not finite,
                half of a pair is missing, or a rank is not what the configuration says.
        """
        folder = Path(path)
        config = read_config(folder)
        check_config(folder, config)  # before its tensors are read, which may be many
        return cls.of(folder, config, read_tensors(folder))

    @classmethod
    def of(cls, path: str | Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "LoraFolder":
        """The same from what such a folder would hold, for an adapter that is in memory.

        Args:
            path (`str` or `Path`): how messages call it.
            config (`Mapping[str, Any]`): as `adapter_config.json` has it.
            tensors (`Mapping[str, Tensor]`): as `adapter_model.safetensors` has them.

        Raises:
            InputError: see `read`.
        """
        folder = Path(path)
        check_config(folder, config)
        pairs, rest, extras = sort_tensors(folder, tensors)
        modules = {name: build_module(folder, config, name, pair) for name, pair in sorted(pairs.items())}
        for name, extra in extras.items():
            if name not in modules:
                raise InputError(f"{folder}: '{name}' has {', '.join(extra)} and no pair of lora_A and lora_B")
            modules[name] = replace(modules[name], **extra)
        if not modules and not rest:
            raise InputError(f"{folder}: the adapter holds no tensors")
        return cls(folder, config.get("base_model_name_or_path") or None, config.get("revision"), config, modules, rest)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of all base tensors that the adapter changes."""
        weights = [f"{name}.weight" for name in self.modules]
        biases = [f"{name}.bias" for name, m in self.modules.items() if m.bias is not None]
        return tuple(dict.fromkeys([*weights, *biases, *self.whole]))

    @property
    def low_rank(self) -> bool:
        """Whether B and A describe all that the adapter does (no whole tensors, no DoRA, no biases)."""
        return not self.whole and all(m.magnitude is None and m.bias is None for m in self.modules.values())

    def product(self, name: str, base: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """Two thin factors whose product is `delta`, in the orientation of the base's own tensor; their shapes are checked against it.

        Args:
            name (`str`): a tensor that the adapter changes.
            base (`Mapping[str, Tensor]`): see `delta`; only shapes are looked at.

        Returns:
            `tuple[Tensor, Tensor]`: `[rows, r]` (holding the scaling) and `[r, columns]`, or `None` where no factors of known rank describe the change.

        Raises:
            InputError: the base has no such tensor or one of another shape.
        """
        module, _, leaf = name.rpartition(".")
        lora = self.modules.get(module)
        if (
            leaf != "weight"
            or lora is None
            or lora.magnitude is not None
            or lora.copy is not None
            or name in self.whole
        ):
            return None
        up, down = lora.factors()
        flip = lora.embedding or self._is_flipped(module, base)
        left, right = (down.T, up.T) if flip else (up, down)
        _check_shape(self.path, name, (left.shape[0], right.shape[1]), self._base(name, base))
        return left, right

    def delta(self, name: str, base: Mapping[str, Tensor] | None = None) -> Tensor:
        """What the adapter adds to one tensor, in float32 (float64 where the file has it) and in the orientation of the base's own.

        Args:
            name (`str`): a tensor (`lm_head.weight`) or the module whose weight is meant (`lm_head`).
            base (`Mapping[str, Tensor]`, *optional*): the base's tensors by name; a lazy mapping reads only what is asked for. Needed for
                DoRA and for tensors stored whole; where it is given, shapes are checked against it and it decides the orientation.

        Raises:
            InputError: the adapter does not change the tensor, the base is needed and not given, or it is not the adapter's base.
        """
        tensor = name if name in self.tensors else f"{name}.weight"
        if tensor not in self.tensors:
            near = difflib.get_close_matches(name, [*self.modules, *self.tensors], n=1)
            hint = f": did you mean '{near[0]}'?" if near else f" (it changes {len(self.tensors)} tensors)"
            raise InputError(f"{self.path} does not change '{name}'{hint}")
        module, _, leaf = tensor.rpartition(".")
        total: Tensor | None = None
        if tensor in self.whole:
            total = self._minus_base(tensor, self.whole[tensor], base)
        if module in self.modules and leaf in ("weight", "bias"):
            part = self._bias(module) if leaf == "bias" else self._weight(module, base)
            if part is not None:
                total = part if total is None else total + part
        assert total is not None
        return total

    def _bias(self, module: str) -> Tensor | None:
        bias = self.modules[module].bias
        return None if bias is None else _wide(bias) * self.modules[module].scaling

    def _weight(self, module: str, base: Mapping[str, Tensor] | None) -> Tensor:
        """ΔW of a module with a pair of factors."""
        lora = self.modules[module]
        up, down = lora.factors()
        change = up @ down
        name = f"{module}.weight"
        flip = lora.embedding or lora.transposed
        if base is not None and not lora.embedding:
            flip = self._is_flipped(module, base)
        if base is not None:
            expected = tuple(reversed(change.shape)) if flip else tuple(change.shape)
            _check_shape(self.path, name, expected, self._base(name, base))
        if lora.magnitude is not None:
            change = self._dora(lora, change, _wide(self._base(name, base)), flip)
        change = change.T if flip else change
        if lora.copy is not None and base is not None:
            # Loading would put the copy in the base's place, so whatever it differs by is part of the change.
            change = change + self._minus_base(name, lora.copy, base)
        return change.contiguous()

    def _dora(self, lora: LoraModule, change: Tensor, weight: Tensor, flip: bool) -> Tensor:
        assert lora.magnitude is not None
        weight = weight.T if flip else weight
        moved = weight + change
        return _wide(lora.magnitude).view(-1, 1) / moved.norm(dim=1, keepdim=True) * moved - weight

    def _is_flipped(self, module: str, base: Mapping[str, Tensor]) -> bool:
        """Whether the base keeps this weight as `[d_in, d_out]`.

        PEFT writes one flag for all layers, that of the last one which it converted, so in a GPT-2 with an adapted output layer it is wrong
        for every Conv1D. Shapes tell, except where a weight is square: there the flag counts if no other layer contradicts it.
        """
        flag = self.modules[module].transposed
        own = self._shape_says(module, base)
        if own is not None or self.modules[module].certain:
            return flag if own is None else own
        one_of_each_kind = {name.rpartition(".")[2]: name for name, m in self.modules.items() if not m.embedding}
        others = {name: self._shape_says(name, base) for name in one_of_each_kind.values()}
        against = next((name for name, says in others.items() if says not in (None, flag)), None)
        if against is not None:
            raise InputError(
                f"{self.path}: fan_in_fan_out={flag} contradicts the shape of '{against}' in the base, so the orientation of the "
                f"square '{module}' is unknown: save the adapter without one of the two kinds of layers"
            )
        return flag

    def _shape_says(self, module: str, base: Mapping[str, Tensor]) -> bool | None:
        """True for `[d_in, d_out]`, False for `[d_out, d_in]`, None where the shape does not tell (or is wrong, which is found later)."""
        lora = self.modules[module]
        expected = (lora.up.shape[0], lora.down.shape[1])
        shape = tuple(self._base(f"{module}.weight", base).shape)
        if expected[0] == expected[1] or shape not in (expected, expected[::-1]):
            return None
        return shape != expected

    def _minus_base(self, name: str, value: Tensor, base: Mapping[str, Tensor] | None) -> Tensor:
        original = self._base(name, base)
        _check_shape(self.path, name, tuple(value.shape), original)
        return _wide(value) - _wide(original)

    def _base(self, name: str, base: Mapping[str, Tensor] | None) -> Tensor:
        if base is None:
            raise InputError(f"{self.path}: the change of '{name}' depends on the base's own tensor: give `base`")
        if name not in base:
            near = difflib.get_close_matches(name, list(base), n=1)
            hint = f"; nearest: '{near[0]}'" if near else ""
            raise InputError(f"{self.path}: the base has no tensor '{name}'{hint}")
        return base[name]


def mix(
    folders: Sequence[LoraFolder], weights: Sequence[float], *, same_base: bool = True
) -> dict[str, tuple[Tensor, Tensor]]:
    r"""$\Delta W(w) = \sum_k w_k s_k B_k A_k$ of every module as exact factors: B `[d_out, Σ r_k]` (holding w_k s_k) and A `[Σ r_k, d_in]`.

    Ranks, scalings and targets may differ. A folder of weight zero adds no rank; a module that only such folders touch is left out. Embeddings keep
    PEFT's orientation: their weight changes by $(BA)^\top$.

    Args:
        folders (`Sequence[LoraFolder]`): K adapters.
        weights (`Sequence[float]`): K numbers, also negative or above 1.
        same_base (`bool`, *optional*, defaults to `True`): refuse folders that name different bases.

    Raises:
        InputError: numbers of folders and weights differ, a weight is not finite, bases or shapes differ, or a folder does something that no
            factors describe (use `mix_deltas`).
    """
    used = used_folders(folders, weights, same_base)
    for folder, _ in used:
        if not folder.low_rank:
            names = [
                *folder.whole,
                *(n for n, m in folder.modules.items() if m.magnitude is not None or m.bias is not None),
            ]
            raise InputError(
                f"{folder.path} changes '{names[0]}' in a way that no low-rank factors describe (modules_to_save, a bias or DoRA): "
                f"use mix_deltas with the base's tensors"
            )
    mixed: dict[str, tuple[Tensor, Tensor]] = {}
    for name in dict.fromkeys(name for folder, _ in used for name in folder.modules):
        parts = [(folder, w) for folder, w in used if name in folder.modules]
        shapes = {str(f.path): (f.modules[name].up.shape[0], f.modules[name].down.shape[1]) for f, _ in parts}
        if len(set(shapes.values())) > 1:
            raise InputError(f"'{name}' has several shapes: {shapes}")
        factors = [folder.modules[name].factors(w) for folder, w in parts]
        dtype = torch.float64 if any(up.dtype == torch.float64 for up, _ in factors) else torch.float32
        mixed[name] = (
            torch.cat([up.to(dtype) for up, _ in factors], dim=1),
            torch.cat([down.to(dtype) for _, down in factors], dim=0),
        )
    return mixed


def mix_deltas(
    folders: Sequence[LoraFolder],
    weights: Sequence[float],
    base: Mapping[str, Tensor] | None = None,
    *,
    same_base: bool = True,
) -> Iterator[tuple[str, Tensor]]:
    r"""$\sum_k w_k \, \Delta_k$ of one tensor after the other, for every tensor that a folder of non-zero weight changes.

    Unlike `mix` it takes every folder that can be read: whole tensors, biases and DoRA count as the change that each folder makes alone.

    Args:
        folders (`Sequence[LoraFolder]`): K adapters.
        weights (`Sequence[float]`): K numbers.
        base (`Mapping[str, Tensor]`, *optional*): see `LoraFolder.delta`.
        same_base (`bool`, *optional*, defaults to `True`): refuse folders that name different bases.

    Returns:
        `Iterator[tuple[str, Tensor]]`: tensor names and their changes; one dense tensor is in memory at a time.
    """
    used = used_folders(folders, weights, same_base)
    for name in dict.fromkeys(name for folder, _ in used for name in folder.tensors):
        changes = [folder.delta(name, base) * w for folder, w in used if name in folder.tensors]
        shapes = {tuple(change.shape) for change in changes}
        if len(shapes) > 1:
            raise InputError(f"'{name}' has several shapes: {sorted(shapes)}")
        yield name, torch.stack(changes).sum(dim=0) if len(changes) > 1 else changes[0]


def check_same_base(folders: Sequence[LoraFolder]) -> None:
    """Refuse adapters whose configurations name different bases; one that names none fits all.

    Args:
        folders (`Sequence[LoraFolder]`): K adapters.

    Raises:
        InputError: names what each of them calls its base.
    """
    bases = {str(f.path): f.base for f in folders if f.base is not None}
    if len(set(bases.values())) > 1:
        raise InputError(
            f"adapters of different bases cannot be mixed: {bases}; if these are one model, write one name into base_model_name_or_path of each "
            "adapter_config.json (in Python: same_base=False)"
        )


def used_folders(
    folders: Sequence[LoraFolder], weights: Sequence[float], same_base: bool = True
) -> list[tuple[LoraFolder, float]]:
    """The adapters of non-zero weight, with their weights.

    Args:
        folders (`Sequence[LoraFolder]`): K adapters.
        weights (`Sequence[float]`): K numbers, any sign.
        same_base (`bool`, *optional*, defaults to `True`): refuse folders that name different bases.

    Raises:
        InputError: numbers of folders and weights differ, a weight is not finite, or bases differ.
    """
    if len(folders) != len(weights):
        raise InputError(f"{len(folders)} adapters need as many weights, found {len(weights)}")
    if not all(math.isfinite(w) for w in weights):
        raise InputError(f"weights must be finite, found {list(weights)}")
    if same_base:
        check_same_base(folders)
    return [(folder, float(w)) for folder, w in zip(folders, weights, strict=True) if w != 0]


def _check_shape(folder: Path, name: str, expected: tuple[int, ...], found: Tensor) -> None:
    if tuple(found.shape) != expected:
        raise InputError(
            f"{folder}: '{name}' must be {list(expected)}, the base's is {list(found.shape)}: this is not the adapter's base"
        )


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
