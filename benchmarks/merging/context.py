"""What every part of the benchmark gets, and the models on disk that they share."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.report import Row

# SmolLM-135M's shapes.
SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
HEADS = {"num_attention_heads": 9, "num_key_value_heads": 3}
QUICK = {"hidden_size": 72, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 512}
WEIGHTS = (0.5, 0.3, 0.2)
DENSITY = 0.5
# How far fine-tuning moves an entry, beside how large entries are.
CHANGE, SIZE = 0.002, 0.04


@dataclass(frozen=True)
class Context:
    """Limits and places.

    Args:
        scratch (`Path`): for models, which parts of one run share.
        mergekit (`Path`, *optional*): a Python interpreter that has it.
        repeats (`int`): rounds.
        keep (`Path`, *optional*): a folder for finished parts, from which a run that was cut off goes on.
        quick (`bool`): a small run that shows only that everything works.
    """

    scratch: Path
    mergekit: Path | None = None
    repeats: int = 5
    keep: Path | None = None
    quick: bool = False

    def rounds(self) -> int:
        """How often each contender runs."""
        return min(2, self.repeats) if self.quick else self.repeats

    def config(self) -> dict[str, Any]:
        """What transformers needs to know of the models."""
        sizes = QUICK if self.quick else SHAPE
        rest = {
            "tie_word_embeddings": True,
            "max_position_embeddings": 2048,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
        }
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **sizes, **HEADS, **rest}

    def models(self, dtype: torch.dtype) -> Path:
        """A folder with `base`, and `0`, `1` and `2`, which were "fine-tuned" from it by noise; written once."""
        folder = self.scratch / _plain(dtype)
        if not folder.exists():
            for name in ("base", *map(str, range(len(WEIGHTS)))):
                _write(folder / name, self.config(), dtype, name)
        return folder

    def recipe(self, method: str, dtype: torch.dtype, **settings: Any) -> dict[str, Any]:
        """A merge of the three in mergekit's form, in which its sums are in the models' dtype."""
        folder = self.models(dtype)
        models = [
            {"model": str(folder / str(i)), "parameters": {"weight": weight, **settings}}
            for i, weight in enumerate(WEIGHTS)
        ]
        base = {} if method == "linear" else {"base_model": str(folder / "base")}
        return {"merge_method": method, "models": models, "dtype": _plain(dtype), **base}


def no_mergekit(ids: str) -> Row:
    """The row that says what was left out."""
    return Row(ids, "left out: --mergekit names no interpreter that has mergekit", None)


def shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of a Llama whose output layer is its embedding."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    narrow = width // config["num_attention_heads"] * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", (config["vocab_size"], width)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for part, out in (("q", width), ("k", narrow), ("v", narrow), ("o", width)):
            yield f"{at}self_attn.{part}_proj.weight", (out, width)
        for part, shape in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
            yield f"{at}mlp.{part}_proj.weight", shape
        yield f"{at}input_layernorm.weight", (width,)
        yield f"{at}post_attention_layernorm.weight", (width,)
    yield "model.norm.weight", (width,)


def _write(folder: Path, config: dict[str, Any], dtype: torch.dtype, name: str) -> None:
    folder.mkdir(parents=True)
    save_file(tensors(config, dtype, name), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": _plain(dtype)}), encoding="utf-8")


def tensors(config: dict[str, Any], dtype: torch.dtype, name: str) -> dict[str, Tensor]:
    """A model's weights; those of `base` plus small noise where it is not that."""
    common, own = torch.Generator().manual_seed(0), None
    if name != "base":
        own = torch.Generator().manual_seed(1 + int(name))
    made = {}
    for tensor, shape in shapes(config):
        value = torch.randn(shape, generator=common).mul_(SIZE)
        if own is not None:
            value.add_(torch.randn(shape, generator=own), alpha=CHANGE)
        made[tensor] = value.to(dtype)
    return made


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
