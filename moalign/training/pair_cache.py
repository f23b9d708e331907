"""Keep on disk what only depends on the data, the base model and the reward, so that the next run over the same pairs does not compute it again."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import huggingface_hub.constants
import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from frontier.atomic import replace_file
from frontier.realize.export import base_tensors
from moalign.policy import SteerablePolicy
from moalign.training.runs.sharded import is_sharded
from reward_heads import VectorReward

logger = logging.getLogger(__name__)
OFF = "off"
_FORMAT = 1
# Of a configuration: what changes no value.
_UNRELATED = ("_name_or_path", "transformers_version", "architectures", "use_cache", "dtype", "torch_dtype")


class PairCache:
    """A folder of tensors, each named by a digest of everything that it depends on.

    Files are written beside and renamed; one that cannot be read, or whose content is not what its checksum says, is made again with a warning. Of several
    processes the first reads and writes for all. Nothing is ever deleted: a file has 4 bytes per completion (or completion and objective), and the folder may
    be emptied at any time.

    Args:
        folder (`str` or `Path`): made when something is kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._bases: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()

    @classmethod
    def of(cls, setting: str | None) -> "PairCache | None":
        """The cache that `cache_dir` means: a folder, `off`, or by default `moalign` beside the data sets' cache of Hugging Face (`HF_HOME`)."""
        if setting == OFF:
            return None
        return cls(Path(huggingface_hub.constants.HF_HOME) / "moalign" if setting is None else Path(setting))

    def get(self, kind: str, key: str, make: Callable[[], Tensor]) -> Tensor:
        """The tensor kept under this name, or what `make` returns, which is kept.

        Args:
            kind (`str`): begins the file's name, for people.
            key (`str`): digest of all that the tensor depends on.
            make (`Callable`): every process calls it, or none.
        """
        path = self.folder / f"{kind}-{key[:40]}.safetensors"
        state = PartialState()
        found = [_read(path, key) if state.is_main_process else None]
        if state.num_processes > 1:
            broadcast_object_list(found)
        if found[0] is not None:
            logger.info("%s read from %s", kind, path)
            return found[0]
        made = make()
        if state.is_main_process:
            _write(path, key, made)
        return made

    def base(self, policy: SteerablePolicy) -> str | None:
        """`exact_base_digest` of a policy whose base stays as it is, computed once; `None` also as soon as this process holds only a part of it."""
        if is_sharded(policy.base.parameters()):
            return None
        if policy.model not in self._bases:
            self._bases[policy.model] = exact_base_digest(policy)
        return self._bases[policy.model]


def tokens_digest(sequences: Iterable[Sequence[int]]) -> str:
    """Of sequences of token ids, in order."""
    digest = hashlib.sha256()
    for ids in sequences:
        digest.update(b"%d:" % len(ids) + np.asarray(ids, dtype=np.int64).tobytes())
    return digest.hexdigest()


def exact_base_digest(policy: SteerablePolicy) -> str | None:
    """Of every value of the base model's weights and of its configuration; `None` where this process holds only a part of them.

    Log-probabilities kept under it must be those of exactly this base. `SteerablePolicy.base_digest`, by which a bundle knows its base again, is another number:
    of a sample of the weights alone, rounded to bfloat16.
    """
    tensors = base_tensors(policy.model)
    if is_sharded(tensors.values()):
        return None
    digest = hashlib.sha256()
    config = {k: v for k, v in policy.base.config.to_dict().items() if k not in _UNRELATED}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(tensors.items()):
        whole = tensor.detach().cpu().contiguous().view(-1)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(whole.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def reference_key(base: str, texts: Iterable[Sequence[int]], arithmetic: str) -> str:
    """The key of log-probabilities of a base model.

    Args:
        base (`str`): its `exact_base_digest`.
        texts (`Iterable`): prompts and completions as token ids.
        arithmetic (`str`): of the forward: the kind of device and its precision.
    """
    return _key("reference", base, tokens_digest(texts), arithmetic)


def rewards_key(reward: VectorReward, texts: Sequence[str]) -> str | None:
    """The key of a reward's scores; `None` where the reward cannot be identified by its content, which is logged.

    Args:
        reward (`VectorReward`): before its first score.
        texts (`Sequence[str]`): what it is asked about.
    """
    from moalign.soup.reward_digest import reward_digest

    if _is_remote(reward):
        logger.info(
            "the rewards are not kept on disk: a part of the reward answers from elsewhere, where it may change (give it a cache of its own)"
        )
        return None
    try:
        identity = reward_digest(reward)
    except Exception as error:  # any object may be part of a reward
        logger.warning(
            "the rewards are not kept on disk: the reward cannot be identified (%s: %s)", type(error).__name__, error
        )
        return None
    digest = hashlib.sha256()
    for text in texts:
        digest.update(b"%d:" % len(text.encode()) + text.encode())
    return _key("rewards", identity, digest.hexdigest())


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join([str(_FORMAT), *parts]).encode()).hexdigest()


def _is_remote(found: Any, depth: int = 4) -> bool:
    if type(found).__module__.startswith("reward_heads.remote"):
        return True
    if depth == 0 or isinstance(found, str | bytes | Tensor):
        return False
    parts = found if isinstance(found, list | tuple) else found.values() if isinstance(found, dict) else ()
    return any(_is_remote(part, depth - 1) for part in [*parts, *getattr(found, "__dict__", {}).values()])


def _read(path: Path, key: str) -> Tensor | None:
    try:
        if not path.is_file():
            return None
        with safe_open(str(path), "pt") as file:
            facts, values = file.metadata() or {}, file.get_tensor("values")
        if facts.get("key") != key or facts.get("sha256") != _checksum(values):
            raise ValueError("its content is not what its checksum says")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        logger.warning("%s cannot be used and is made again: %s", path, error)
        return None
    return values


def _write(path: Path, key: str, values: Tensor) -> None:
    values = values.detach().cpu().contiguous()
    try:
        with replace_file(path) as beside:
            save_file({"values": values}, str(beside), {"key": key, "sha256": _checksum(values)})
    except (OSError, SafetensorError) as error:  # the latter is a full disk; training does not need it
        logger.warning("%s cannot be written, so that the next run computes it again: %s", path, error)


def _checksum(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().view(-1).view(torch.uint8).numpy().data).hexdigest()
