"""Read a whole model's weights tensor by tensor from its folder: one safetensors file or several with an index."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.reference import ADAPTER, INDEX, WEIGHTS
from frontier.realize.merging.tensor_files import Layout, TensorFile

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
OUTPUT_LAYERS = ("lm_head.weight", "embed_out.weight", "output.weight")
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
# Parts of the names of the architectures that have an output layer.
WRITERS = ("CausalLM", "LMHead", "ConditionalGeneration")


class TensorSource(Protocol):
    """Where tensors come from: a checkpoint, a checkpoint with a LoRA on it, or tensors in memory."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """Shape and dtype of every tensor, an output layer that is tied to the embedding left out."""

    @property
    def tied(self) -> Mapping[str, str]:
        """Output layer to the embedding whose tensor it shares."""

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """The elements `start` to `stop` of a tensor in row-major order, flat. Called from several threads."""

    def in_pieces(self, name: str) -> bool:
        """Whether a piece of the tensor costs no more than its share of the whole."""

    def place(self, name: str) -> str:
        """The file that holds a tensor, for messages."""


@runtime_checkable
class ReadsInto(Protocol):
    """A source that reads into memory that is there already, which spares the operating system finding some for every piece."""

    def read_into(self, memory: Tensor, name: str, start: int, stop: int) -> Tensor:
        """As `TensorSource.read`; the result may lie in `memory`, flat bytes and as many as the elements have."""


class Checkpoint:
    """A model on disk, its tensors read when asked for.

    Args:
        folder (`str` or `Path`): with `model.safetensors`, or `model.safetensors.index.json` and the shards that it names.
        name (`str`, *optional*): how messages call it, by default the folder.

    Raises:
        InputError: no safetensors there (pickles are refused), a shard that is missing, corrupt or holds other tensors than the index says, quantised weights.
    """

    def __init__(self, folder: str | Path, name: str | None = None) -> None:
        self.folder = Path(folder)
        self.name = str(folder) if name is None else name
        self.config = read_json(self.folder / "config.json")
        if "quantization_config" in self.config:
            raise InputError(
                f"model {self.name} is quantised (config.json has quantization_config): merge the original weights"
            )
        self._files: dict[str, TensorFile] = {}
        index = self.folder / INDEX
        if (self.folder / WEIGHTS).is_file():
            file = TensorFile(self.folder / WEIGHTS)
            self._files = dict.fromkeys(file.layouts, file)
            self.sha256 = hashlib.sha256(file.header).hexdigest()
        elif index.is_file():
            self._open_shards(index)
            self.sha256 = hashlib.sha256(index.read_bytes()).hexdigest()
        else:
            raise InputError(f"model {self.name}: {_what_lies_there(self.folder)}")
        self.layouts = {name: file.layouts[name] for name, file in sorted(self._files.items())}
        self.tied = self._tied()

    def _open_shards(self, index: Path) -> None:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise InputError(f"{index}: has no weight_map")
        shards = {file: TensorFile(self.folder / file) for file in sorted(set(weight_map.values()))}
        for name, file in weight_map.items():
            if name not in shards[file].layouts:
                raise InputError(f"{index}: tensor '{name}' is not in {file}, where the index has it")
            self._files[name] = shards[file]
        for file, shard in shards.items():
            for name in shard.layouts:
                if weight_map.get(name) != file:
                    raise InputError(
                        f"{shard.path}: holds tensor '{name}', which the index {index.name} does not place there"
                    )

    def _tied(self) -> dict[str, str]:
        """The output layer that reads the embedding's tensor, as the configuration says, or where the file leaves it out."""
        says = setting(self.config, "tie_word_embeddings")
        embedding = next((n for n in self.layouts if n.endswith(EMBEDDINGS)), None)
        if says is False or embedding is None:
            return {}
        present = next((n for n in self.layouts if n in OUTPUT_LAYERS), None)
        if present is None:
            kinds = self.config.get("architectures") or ["CausalLM"]
            writes = any(part in kind for kind in kinds for part in WRITERS)  # an encoder has no output layer to tie
            return {OUTPUT_LAYERS[0]: embedding} if writes else {}
        if says is None:  # the default differs between model types, and the file has both
            return {}
        if not self._equal(present, embedding):
            raise InputError(
                f"model {self.name}: config.json ties '{present}' to '{embedding}', but {self.place(present)} holds two different tensors: set "
                "tie_word_embeddings to false, or leave one out"
            )
        del self.layouts[present]
        return {present: embedding}

    def _equal(self, one: str, other: str) -> bool:
        layout = self.layouts[one]
        if layout != self.layouts[other]:
            return False
        step = 1 << 20
        pieces = ((i, min(i + step, layout.numel)) for i in range(0, layout.numel, step))
        return all(torch.equal(self.read(one, *piece), self.read(other, *piece)) for piece in pieces)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """See `TensorSource`."""
        return self._files[name].read(name, start, stop)

    def read_into(self, memory: Tensor, name: str, start: int, stop: int) -> Tensor:
        """See `ReadsInto`."""
        return self._files[name].read(name, start, stop, memory)

    def mapped(self, name: str) -> Tensor:
        """A whole tensor in its shape as a view into its file; a tied output layer is the embedding."""
        stored = self.tied.get(name, name)
        return self._files[stored].mapped(stored)

    def in_pieces(self, name: str) -> bool:
        """See `TensorSource`."""
        return True

    def place(self, name: str) -> str:
        """See `TensorSource`."""
        return str(self._files[name].path)


class InMemory:
    """Tensors that are loaded already, as a source.

    Args:
        tensors (`Mapping[str, Tensor]`): a state dict. Names that share one tensor are tied.
        name (`str`): how messages call it.
    """

    def __init__(self, tensors: Mapping[str, Tensor], name: str) -> None:
        self.name = name
        self.layouts: dict[str, Layout] = {}
        self.tied: dict[str, str] = {}
        self._flat: dict[str, Tensor] = {}
        first: dict[tuple[int, Layout, tuple[int, ...]], str] = {}
        for tensor, value in tensors.items():
            layout = Layout(tuple(value.shape), value.dtype)
            shared = first.setdefault((value.data_ptr(), layout, value.stride()), tensor) if value.numel() else tensor
            if shared == tensor:
                self.layouts[tensor] = layout
                self._flat[tensor] = value.detach().reshape(-1)
            else:
                self.tied[tensor] = shared

    def read(self, name: str, start: int, stop: int) -> Tensor:
        """See `TensorSource`."""
        return self._flat[name][start:stop].cpu()

    def in_pieces(self, name: str) -> bool:
        """See `TensorSource`."""
        return True

    def place(self, name: str) -> str:
        """See `TensorSource`."""
        return self.name


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        InputError: no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def setting(config: Mapping[str, Any], name: str) -> Any:
    """A setting of a model's config.json, at its top or in the part of a model of several that is the text model."""
    if name in config:
        return config[name]
    inner = config.get("text_config")
    return inner.get(name) if isinstance(inner, dict) else None


def _what_lies_there(folder: Path) -> str:
    pickle = next((name for name in PICKLES if (folder / name).is_file()), None)
    if pickle:
        return f"{folder / pickle} is a pickle, which could run code; save it as safetensors (save_pretrained does) and merge that"
    if (folder / ADAPTER).is_file():
        return f"{folder} is an adapter, not a whole model"
    return f"{folder} has neither {WEIGHTS} nor {INDEX}"
