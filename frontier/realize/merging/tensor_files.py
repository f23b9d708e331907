"""Read and write safetensors files piece by piece, from several threads, with no more memory than the piece.

The format is a length (8 bytes, little-endian), a JSON header with every tensor's dtype, shape and place, and the bytes. Its reader maps the whole file, which counts as this
process's memory page by page; `pread` is as fast and holds only what is asked for. Its writer wants all tensors at once; here a file's header is written first, from the
shapes alone, and pieces follow in any order.
"""

import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from frontier.errors import InputError

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# The header is padded to a multiple of this, so that tensors lie aligned in the file.
ALIGNMENT = 8


@dataclass(frozen=True)
class Layout:
    """What is known of a tensor before a byte of it is read.

    Args:
        shape (`tuple[int, ...]`): of the tensor.
        dtype (`torch.dtype`): of its elements.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in a file."""
        return self.numel * self.dtype.itemsize


class TensorFile:
    """One safetensors file, open for reading pieces of its tensors from any thread.

    Args:
        path (`str` or `Path`): the file.

    Raises:
        InputError: it is no whole safetensors file (cut off, not of this format), or holds a dtype that torch has no name for.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.layouts: dict[str, Layout] = {}
        self._starts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._map: Any = None
        self._check()
        self._descriptor = os.open(self.path, os.O_RDONLY)
        length = int.from_bytes(os.pread(self._descriptor, 8, 0), "little")
        self.header = os.pread(self._descriptor, length, 8)
        for name, entry in json.loads(self.header).items():
            if name == "__metadata__":
                continue
            if entry["dtype"] not in DTYPES:
                raise InputError(f"{self.path}: tensor '{name}' is {entry['dtype']}; {', '.join(DTYPES)} can be read")
            self.layouts[name] = Layout(tuple(entry["shape"]), DTYPES[entry["dtype"]])
            self._starts[name] = 8 + length + int(entry["data_offsets"][0])

    def _check(self) -> None:
        """Let the format's own library judge the file: it compares all places with each other and with the file's length."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "pt"):
                pass
        except FileNotFoundError as error:
            raise InputError(f"{self.path}: no such file") from error
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path}: corrupt, or no safetensors file ({error})") from error

    def read(self, name: str, start: int = 0, stop: int | None = None, memory: Tensor | None = None) -> Tensor:
        """The elements `start` to `stop` of a tensor in row-major order, flat, in their own dtype.

        Args:
            name (`str`): the tensor.
            start (`int`, *optional*, defaults to 0): the first element.
            stop (`int`, *optional*): the one after the last, by default the end.
            memory (`Tensor`, *optional*): flat bytes, at least as many as are read, to read into; by default new ones. New memory costs more than reading does.

        Raises:
            InputError: the file became shorter since it was opened, or the disk cannot read it.
        """
        layout = self.layouts[name]
        stop = layout.numel if stop is None else stop
        size = layout.dtype.itemsize
        nbytes = (stop - start) * size
        buffer = torch.empty(nbytes, dtype=torch.uint8) if memory is None else memory[:nbytes]
        view = memoryview(cast("Any", buffer.numpy()))
        place, done = self._starts[name] + start * size, 0
        while done < len(view):
            try:
                count = os.preadv(self._descriptor, [view[done:]], place + done)
            except OSError as error:
                raise InputError(f"{self.path}: tensor '{name}' cannot be read: {error.strerror}") from error
            if count == 0:
                raise InputError(f"{self.path}: ends in the middle of tensor '{name}'")
            done += count
        return buffer.view(layout.dtype)

    def mapped(self, name: str) -> Tensor:
        """A whole tensor in its shape as a view into the file: nothing is read until its elements are."""
        from safetensors import safe_open

        with self._lock:
            if self._map is None:
                self._map = safe_open(self.path, "pt")
            return cast("Tensor", self._map.get_tensor(name))

    def close(self) -> None:
        """Give the file back; reading ends."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()


class TensorFileWriter:
    """One safetensors file of known contents, filled in pieces from any thread. Its whole room is taken on the disk at once, so that a disk too small is known before the work.

    Args:
        path (`str` or `Path`): the file, which must not exist.
        layouts (`Mapping[str, Layout]`): what it will hold, in this order.
        metadata (`Mapping[str, str]`, *optional*): texts for the header, by default what transformers expects.

    Raises:
        OSError: no room (`ENOSPC`, `EDQUOT`, `EFBIG`), no rights.
    """

    def __init__(
        self, path: str | Path, layouts: Mapping[str, Layout], metadata: Mapping[str, str] | None = None
    ) -> None:
        header: dict[str, object] = {"__metadata__": dict(metadata or {"format": "pt"})}
        end, places = 0, {}
        for name, layout in layouts.items():
            places[name] = end
            end += layout.nbytes
            entry = {"dtype": NAMES[layout.dtype], "shape": list(layout.shape), "data_offsets": [places[name], end]}
            header[name] = entry
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        text += b" " * (-len(text) % ALIGNMENT)
        first = 8 + len(text)
        self.layouts = dict(layouts)
        self._starts = {name: first + place for name, place in places.items()}
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _reserve(self._descriptor, first + end)
            _write_all(self._descriptor, memoryview(len(text).to_bytes(8, "little") + text), 0)
        except OSError:
            self.close()
            raise

    def write(self, name: str, start: int, piece: Tensor) -> None:
        """Put the elements of `piece` at `start` of a tensor, in row-major order.

        Args:
            name (`str`): the tensor.
            start (`int`): the first element.
            piece (`Tensor`): of the tensor's dtype, on the CPU.
        """
        layout = self.layouts[name]
        if piece.dtype != layout.dtype or start + piece.numel() > layout.numel:
            raise ValueError(f"tensor '{name}' is {layout}, not {piece.numel()} x {piece.dtype} from {start}")
        flat = piece.detach().contiguous().reshape(-1).view(torch.uint8)
        _write_all(
            self._descriptor, memoryview(cast("Any", flat.numpy())), self._starts[name] + start * layout.dtype.itemsize
        )

    def close(self) -> None:
        """Finish the file; errors that the disk kept back appear here."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as error:
            import errno

            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems that cannot reserve
                raise
    os.ftruncate(descriptor, size)


def _write_all(descriptor: int, data: memoryview, place: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], place + done)


def split_into_shards(layouts: Mapping[str, Layout], limit: int) -> list[dict[str, Layout]]:
    """Fill one shard after the other, in order, none above `limit` bytes except for a single tensor that is larger."""
    shards: list[dict[str, Layout]] = [{}]
    size = 0
    for name, layout in layouts.items():
        if shards[-1] and size + layout.nbytes > limit:
            shards.append({})
            size = 0
        shards[-1][name] = layout
        size += layout.nbytes
    return shards


def shard_names(count: int) -> Iterable[str]:
    """The names that transformers gives the weights' files."""
    if count == 1:
        return ("model.safetensors",)
    return tuple(f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1))
