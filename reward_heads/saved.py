"""Save any reward of this package into a folder, and load it again without knowing what it is.

`load_reward(folder)` looks for the file that marks each kind, and applies the transforms (calibration, decorrelation) that lie beside it. A folder without any marker is read
as an ordinary sequence-classification model.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from frontier.errors import InputError
from reward_heads.transforms import FILE_NAME, TransformedReward, entries_of, load_transforms, save_transforms
from reward_heads.vector_reward import VectorReward

MARKERS = {
    "reward_heads.json": "reward_heads.model:TransformerReward",
    "probe.json": "reward_heads.probes:ProbeReward",
    "ensemble.json": "reward_heads.ensemble:EnsembleReward",
    "gate.json": "reward_heads.gating:GatedReward",
    "remote.json": "reward_heads.remote:RemoteReward",
    "general_preference.json": "reward_heads.general_preference:GeneralPreferenceReward",
}
"""The file that marks a saved reward, and the class whose `from_pretrained` reads the folder."""

USER_MODELS = {
    "low_rank.json": "reward_heads.users.LowRankUsers",
    "latent.json": "reward_heads.users.LatentUsers",
}
"""Models of users, whose numbers say what people may want rather than how good a text is; they need the embedder that they were fitted with."""


def save_reward(reward: VectorReward, folder: str | os.PathLike[str]) -> None:
    """Write a reward, with its transforms if it is a [`TransformedReward`].

    Args:
        reward (`VectorReward`): anything with `save_pretrained`.
        folder (`str` or path): transforms of an earlier reward in it are replaced, or removed if this one has none. A save that fails leaves them.

    Raises:
        InputError: the reward is made of Python code, which no file can hold, or has a transform that no file can hold; nothing is written then.
    """
    inner = reward.reward if isinstance(reward, TransformedReward) else reward
    save: Callable[[Any], None] | None = getattr(inner, "save_pretrained", None)
    if save is None:
        raise InputError(
            f"{type(inner).__name__} can't be saved: it is made of Python code; name it as FILE.py:NAME where a reward is asked for"
        )
    if isinstance(reward, TransformedReward):
        entries_of(reward.transforms)  # refused before anything is written
    # Old transforms stay until the end: beside another reward their fingerprint refuses them, while a folder without any would pass raw scores off as corrected ones.
    save(folder)
    if not isinstance(reward, TransformedReward):
        (Path(folder) / FILE_NAME).unlink(missing_ok=True)
    else:
        save_transforms(reward.transforms, folder, marker_of(folder) or "config.json")


def load_reward(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    transforms: bool = True,
) -> Any:
    """Load whatever reward a folder holds; transforms beside it are applied.

    Args:
        folder (`str` or path): what `save_pretrained` of a reward or [`save_reward`] wrote, or any sequence-classification model (a folder or a hub id).
        device (*optional*): for models, by default the CPU.
        batch_size (`int`, *optional*, defaults to 64): texts per forward pass.
        transforms (`bool`, *optional*, defaults to `True`): `False` loads the inner reward alone, with its raw scores, whatever lies beside it; to fit transforms anew.

    Returns:
        `VectorReward`.

    Raises:
        InputError: nothing there, two rewards in one folder, or a file that is broken; names it.
    """
    marker = marker_of(folder)
    module, _, name = MARKERS[marker or "reward_heads.json"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    reward = kind.from_pretrained(folder, device=device, batch_size=batch_size)
    found = load_transforms(folder, marker or "config.json") if transforms else ()
    return TransformedReward(reward, found) if found else reward


def marker_of(folder: str | os.PathLike[str]) -> str | None:
    """The marker file of the reward in a folder; `None` where there is none.

    Raises:
        InputError: there are two, or a model of users.
    """
    found = [marker for marker in MARKERS if (Path(folder) / marker).is_file()]
    for name, kind in USER_MODELS.items():
        if not found and (Path(folder) / name).is_file():
            raise InputError(
                f"{folder} holds a model of users ({name}): load it with {kind}.from_pretrained(folder, embedder=...)"
            )
    if len(found) > 1:
        raise InputError(f"{folder} holds two rewards, {' and '.join(found)}: keep one, or use two folders")
    return found[0] if found else None
