"""Write a merged model's folder: shards filled piece by piece, their index, the configuration, the tokenizer."""

import errno
import json
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError
from frontier.realize.merging.checkpoint import OUTPUT_LAYERS, setting
from frontier.realize.merging.reference import INDEX
from frontier.realize.merging.tensor_files import Layout, TensorFileWriter, shard_names, split_into_shards

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
DTYPE_KEYS = ("dtype", "torch_dtype")


@dataclass(frozen=True)
class Layer:
    """Where a layer of the result comes from.

    Args:
        model (`str`): its name.
        config (`Mapping[str, Any]`): that model's config.json.
        index (`int`): which of its layers.
    """

    model: str
    config: Mapping[str, Any]
    index: int


class ModelWriter:
    """The weights of a model, as one safetensors file or several with their index.

    Args:
        folder (`Path`): where.
        layouts (`Mapping[str, Layout]`): every tensor, in the order in which shards are filled.
        limit (`int`): bytes of a shard.

    Raises:
        OSError: no room.
    """

    def __init__(self, folder: Path, layouts: Mapping[str, Layout], limit: int) -> None:
        self._folder = folder
        self._files: dict[str, TensorFileWriter] = {}
        self._writers: list[TensorFileWriter] = []
        self._weight_map: dict[str, str] = {}
        self.nbytes = sum(layout.nbytes for layout in layouts.values())
        shards = split_into_shards(layouts, limit)
        try:
            for file, shard in zip(shard_names(len(shards)), shards, strict=True):
                writer = TensorFileWriter(folder / file, shard)
                self._writers.append(writer)
                for name in shard:
                    self._files[name], self._weight_map[name] = writer, file
        except OSError:
            self.close()
            raise

    @property
    def n_shards(self) -> int:
        """The number of files."""
        return len(self._writers)

    def write(self, name: str, start: int, piece: Tensor) -> None:
        """Put a piece of a tensor in its place, from any thread."""
        self._files[name].write(name, start, piece)

    def finish(self) -> None:
        """Close the shards and write their index, if there are several."""
        self.close()
        if len(self._writers) > 1:
            document = {"metadata": {"total_size": self.nbytes}, "weight_map": self._weight_map}
            write_text(self._folder / INDEX, json.dumps(document, indent=2) + "\n")

    def close(self) -> None:
        """Close the shards."""
        for writer in self._writers:
            writer.close()


def merged_config(
    config: Mapping[str, Any], tensors: Sequence[str], dtype: torch.dtype | None, layers: Sequence[Layer] | None
) -> dict[str, Any]:
    """The config.json of the result: the named model's, with what the merge changed.

    Args:
        config (`Mapping[str, Any]`): of the named model.
        tensors (`Sequence[str]`): the result's, which tell whether its output layer is still the embedding.
        dtype (`torch.dtype`, *optional*): if one was asked for.
        layers (`Sequence[Layer]`, *optional*): where each layer of the result comes from, if not from its own place.

    Raises:
        InputError: some of the layers' models name their layers' types and others do not.
    """
    made: dict[str, Any] = json.loads(json.dumps(config))
    inner = made.get("text_config")
    parts = [made, inner] if isinstance(inner, dict) else [made]
    if any(name in OUTPUT_LAYERS for name in tensors) and setting(config, "tie_word_embeddings") is not False:
        # Written where it is missing too: several model types tie by default.
        for part in parts:
            part["tie_word_embeddings"] = False
    kinds = None if layers is None else _layer_types(layers)
    for part in parts:
        for key in DTYPE_KEYS:
            if dtype is not None and (key in part or (part is made and key == "dtype" and "torch_dtype" not in part)):
                part[key] = str(dtype).removeprefix("torch.")
        if layers is not None:
            part.update({key: len(layers) for key in COUNTS if key in part})
            if kinds and ("layer_types" in part or any(key in part for key in COUNTS)):
                part["layer_types"] = kinds
    return made


def _layer_types(layers: Sequence[Layer]) -> list[Any] | None:
    """Each layer's own, such as full or sliding attention, from the model that it comes from."""
    known = {layer.model: setting(layer.config, "layer_types") for layer in layers}
    if not any(isinstance(kinds, list) for kinds in known.values()):
        return None
    for layer in layers:
        kinds = known[layer.model]
        if not isinstance(kinds, list) or layer.index >= len(kinds):
            count = len(kinds) if isinstance(kinds, list) else 0
            raise InputError(
                f"model {layer.model}: its config.json names layer_types of {count} layers, and layer {layer.index} is merged with others that have "
                "theirs: write them there"
            )
    return [known[layer.model][layer.index] for layer in layers]


def copy_companions(folder: Path, out: Path, config: Mapping[str, Any]) -> None:
    """Copy what else a model's folder needs: how to generate, and its own code where the configuration asks for it."""
    code = sorted(path.name for path in folder.glob("*.py")) if "auto_map" in config else []
    for name in ("generation_config.json", *code):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


@contextmanager
def full_disk_is_told(out: Path, nbytes: int, what: str = "the merged model") -> Iterator[None]:
    """Turn the errors of a full disk into a message with the sizes."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
        free = shutil.disk_usage(nearest).free
        raise InputError(
            f"{out}: {(error.strerror or 'no room').lower()}: {what} takes {_size(nbytes)}, and {_size(free)} are free; nothing was written"
        ) from error


def _size(nbytes: int) -> str:
    for unit in ("bytes", "KB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000  # type: ignore[assignment]
    return f"{nbytes:.3g} GB"


@contextmanager
def termination_cleans_up() -> Iterator[None]:
    """Let SIGTERM (a job's end, `kill`) unwind like Ctrl-C, so that half-written folders vanish; only the main thread may set that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_DFL:  # whoever handles it already knows better
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
