"""Corrections of scores (calibration, decorrelation) that travel with the reward, so that training, evaluation and export all see the same numbers.

A correction that is computed but not applied everywhere is worse than none: ArmoRM's released code de-biases its rewards and then trains and judges its gate on the others.
So a correction is a [`Transform`], a [`TransformedReward`] is an ordinary `VectorReward`, and `reward_heads.saved.save_reward` writes the transforms beside the reward that
they were fitted for; `load_reward` always applies them, and refuses them beside any other reward.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError, check_fields, unknown_name
from reward_heads.text import Text, check_same_length
from reward_heads.vector_reward import VectorReward, score_checked

FILE_NAME = "transforms.json"
SCHEMA_VERSION = 1
_FIELDS = ("schema_version", "fitted_for", "transforms")

# What `load_transforms` can read. A transform of your own works in Python; to be saved, its kind must stand here.
KINDS = {
    "calibration": "reward_heads.calibrate:Calibration",
    "decorrelation": "reward_heads.decorrelate:Decorrelation",
}


@runtime_checkable
class Transform(Protocol):
    """A map of score vectors that may look at the texts.

    It must be a function of its arguments alone and treat rows independently, so that a completion scores the same in any batch.
    """

    kind: ClassVar[str]

    @property
    def objectives(self) -> tuple[str, ...]:
        """The K names that it was fitted for, in the order of the columns."""

    def __call__(self, scores: Tensor, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` scores to `[B, K]` corrected ones; NaN (not known) stays NaN."""

    def to_json(self) -> dict[str, Any]:
        """Everything that it learned, for `json.dump`; `from_json` of its class reads it back exactly."""


class TransformedReward:
    """A reward whose scores pass through transforms, one after the other.

    Args:
        reward (`VectorReward`): scored first. If it is a `TransformedReward` itself, its transforms come first.
        transforms (`Sequence[Transform]`): each fitted for the reward's objectives, in their order.

    Raises:
        InputError: no transform, or one that was fitted for other objectives.
    """

    def __init__(self, reward: VectorReward, transforms: Sequence[Transform]) -> None:
        inner = reward.transforms if isinstance(reward, TransformedReward) else ()
        self.reward: VectorReward = reward.reward if isinstance(reward, TransformedReward) else reward
        self.transforms: tuple[Transform, ...] = (*inner, *transforms)
        self.objectives = tuple(reward.objectives)
        if not transforms:
            raise InputError("a transformed reward needs at least one transform, found none")
        for transform in transforms:
            if tuple(transform.objectives) != self.objectives:
                raise InputError(
                    f"the {transform.kind} was fitted for {', '.join(transform.objectives)}, the reward has {', '.join(self.objectives)}"
                )

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32; see [`VectorReward.score`]."""
        return self.transform(score_checked(self.reward, prompts, completions), prompts, completions)

    def transform(self, scores: Tensor, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` scores of the inner reward to what `score` returns, where they are known already.

        Raises:
            InputError: shapes don't fit, or a transform returned another shape or made a missing score known.
        """
        check_same_length(prompts, completions)
        expected = (len(prompts), len(self.objectives))
        if tuple(scores.shape) != expected:
            raise InputError(f"scores must be {list(expected)}, found {list(scores.shape)}")
        for transform in self.transforms:
            found = transform(scores, prompts, completions)
            if found.shape != scores.shape or bool((scores.isnan() & ~found.isnan()).any()):
                raise InputError(
                    f"the {transform.kind} must keep the shape {list(expected)} and leave what is not known as NaN"
                )
            scores = found
        return scores.to(torch.float32)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the inner reward and `transforms.json`; see `reward_heads.saved.save_reward`."""
        from reward_heads.saved import save_reward

        save_reward(self, folder)


def fingerprint(folder: str | os.PathLike[str], marker: str) -> str:
    """Hex sha256 over a saved reward: its marker file and all weights beside it (not those of checkpoints or members in subfolders).

    Args:
        folder (`str` or path): where the reward lies.
        marker (`str`): the JSON file that describes it.
    """
    folder = Path(folder)
    digest = hashlib.sha256()
    # A trainer's settings are no weights.
    weights = [p for kind in ("*.safetensors", "*.bin") for p in folder.glob(kind) if p.name != "training_args.bin"]
    for path in [folder / marker, *sorted(weights)]:
        digest.update(f"{path.name}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def entries_of(transforms: Sequence[Transform]) -> list[dict[str, Any]]:
    """Transforms as `transforms.json` lists them.

    Raises:
        InputError: a transform of a kind that could not be read back, or one that JSON can't hold.
    """
    entries = []
    for transform in transforms:
        if transform.kind not in KINDS:
            raise unknown_name("kind of transform to save", transform.kind, KINDS)
        entry = {"kind": transform.kind, **transform.to_json()}
        try:
            json.dumps(entry, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"the {transform.kind} can't be saved: {error}") from error
        entries.append(entry)
    return entries


def save_transforms(transforms: Sequence[Transform], folder: str | os.PathLike[str], marker: str) -> None:
    """Write `transforms.json` beside the reward that `marker` describes.

    Raises:
        InputError: see [`entries_of`].
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "fitted_for": fingerprint(folder, marker),
        "transforms": entries_of(transforms),
    }
    write_text(Path(folder) / FILE_NAME, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def load_transforms(folder: str | os.PathLike[str], marker: str) -> tuple[Transform, ...]:
    """What [`save_transforms`] wrote; empty where the folder has none.

    Raises:
        InputError: the file is broken, a kind is unknown, or the reward beside it is not the one that the transforms were fitted for.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or content.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
        _check_fields(content)
        if content["fitted_for"] != fingerprint(folder, marker):
            raise InputError(
                "was fitted for another reward than the one beside it (marker or weights have changed): fit it anew, or delete this file to use raw scores"
            )
        return tuple(_read(entry) for entry in content["transforms"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not what save_reward writes: {type(error).__name__}: {error}") from error


def _check_fields(content: Mapping[str, Any]) -> None:
    check_fields(content, _FIELDS)
    if not isinstance(content["transforms"], list) or not content["transforms"]:
        raise InputError(f"field 'transforms' must be a list with at least one entry, found {content['transforms']!r}")


def _read(entry: Mapping[str, Any]) -> Transform:
    fields = dict(entry)
    kind = str(fields.pop("kind", ""))
    if kind not in KINDS:
        raise unknown_name("kind of transform", kind, KINDS)
    module, _, name = KINDS[kind].partition(":")
    return getattr(importlib.import_module(module), name).from_json(fields)
