"""Know for certain which encoder made an embedding: one hash over its weights, configuration, tokenizer and settings.

Hashing gigabytes takes time, so the hash of a file is remembered by its size, times and inode; the rest is small.
"""

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError

# Raise it when the same files and settings would give other embeddings than before.
FORMAT = 1

# In the order in which transformers looks for them.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# A file changed twice within one tick of the clock may keep size and times; only older ones are remembered.
_SETTLED_SECONDS = 2.0


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Hex sha256 over named JSON values, whatever their order."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def has_weights(folder: Path) -> bool:
    """Whether the weights of a transformers model lie in a folder (and not, say, only its configuration in the hub's cache)."""
    return any((folder / name).is_file() for name in _WEIGHTS)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights that transformers would load, with the index if there are several.

    Raises:
        InputError: there are none.
    """
    found = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        adapter = (
            " (an adapter alone is no encoder: merge it into its base)" * (folder / "adapter_config.json").is_file()
        )
        raise InputError(f"no weights in {folder}{adapter}: looked for {', '.join(_WEIGHTS)}")
    if found.suffix != ".json":
        return [found]
    shards = sorted(set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values()))
    return [found, *(folder / shard for shard in shards)]


class FileHashes:
    """sha256 of files, remembered as long as size, modification and change time, and inode stay the same.

    Args:
        store (path, *optional*): a JSON file that keeps them for other processes; by default only this object remembers.
    """

    def __init__(self, store: Path | None = None) -> None:
        self.store = store
        self._known: dict[str, list[Any]] = self._read()

    def __call__(self, path: Path) -> str:
        """Hex sha256 of the content of a file."""
        path = path.resolve()
        before = _identity(path)
        known = self._known.get(str(path))
        if known is not None and known[:-1] == before:
            return known[-1]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _identity(path) == before and time.time() - before[2] / 1e9 > _SETTLED_SECONDS:
            self._remember(path, [*before, digest])
        return digest

    def _read(self) -> dict[str, list[Any]]:
        if self.store is None or not self.store.is_file():
            return {}
        try:
            found = json.loads(self.store.read_text(encoding="utf-8"))
            return {str(path): [*map(int, entry[:4]), str(entry[4])] for path, entry in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, IndexError) as error:
            warnings.warn(f"{self.store} can't be read and is written anew: {error}", stacklevel=2)
            return {}

    def _remember(self, path: Path, entry: list[Any]) -> None:
        self._known[str(path)] = entry
        if self.store is None:
            return
        self._known = {**self._read(), str(path): entry}
        try:
            write_text(self.store, json.dumps(self._known, indent=1) + "\n")
        except OSError as error:  # a read-only cache: slower, not wrong
            warnings.warn(f"{self.store} can't be written: {error}", stacklevel=2)


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Hex sha256 over the names, types, shapes and bytes of tensors in memory."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Hex sha256 over what a tokenizer does to a text: its pipeline, vocabulary and special tokens, and its chat template."""
    digest = hashlib.sha256()
    kept = {"special": tokenizer.special_tokens_map, "template": tokenizer.chat_template}
    digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        pipeline = json.loads(backend.to_str())
        # The last call's padding and truncation are kept in there, too.
        pipeline = {name: value for name, value in pipeline.items() if name not in ("padding", "truncation")}
        digest.update(json.dumps(pipeline, sort_keys=True).encode())
        return digest.hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(map(Path, tokenizer.save_vocabulary(folder))):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _identity(path: Path) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
