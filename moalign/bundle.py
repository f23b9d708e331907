"""Read and write a bundle: what training leaves and everything else reads.

A bundle is a folder of ordinary PEFT LoRA folders, one per objective, plus `steer.json`, which says what they mean together:

    bundle/
      steer.json            objectives, normaliser, base model and its digest, sha256 of every adapter file
      helpful/              adapter_config.json, adapter_model.safetensors: any PEFT user can load it alone
      brief/                ...
      front.json, README.md the measured front and the model card, once there are any
      front.prompts.safetensors   the front's rewards prompt by prompt, for intervals and tests
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frontier.atomic import write_text
from frontier.errors import InputError, unknown_name

SCHEMA_VERSION = 1
MANIFEST = "steer.json"
# For readers of the file that know nothing of moalign.
_MIXING = {
    "adapter_mixture": "W0 + sum_k w_k * s_k * B_k @ A_k; an adapter named 'shared' is added at the sum of the weights",
    "prompt": "W0 + s * B @ A; the preference is told in the prompt",
    "none": "W0 + s * B @ A; the same at every preference",
}


@dataclass(frozen=True)
class BaseModel:
    """Which model the adapters belong to.

    Args:
        name_or_path (`str`): hub id, or a folder (relative to the bundle when it was local at saving).
        revision (`str`, *optional*): commit of a hub model.
        digest (`str`): of the weights, by `weights_digest`.
    """

    name_or_path: str
    digest: str
    revision: str | None = None


@dataclass(frozen=True)
class Manifest:
    """The content of `steer.json`.

    Args:
        objectives (`tuple[str, ...]`): in the order of every reward vector and weight tensor; each names its adapter's folder.
        base (`BaseModel`): the model under the adapters.
        normalizer (`dict`, *optional*): location and scale per objective that the weights refer to (`reward_heads.Normalizer` JSON).
        training (`dict`): method, paper and the settings that a reader of the model card wants.
        default_preference (`dict`, *optional*): JSON form of the preference used where a request names none; uniform weights otherwise.
        conditioning (`dict`, *optional*): how the policy is told its preference (`Conditioning.to_json`); an adapter per objective where it is missing.
        files (`dict[str, str]`): sha256 of each adapter file, by path inside the bundle.
    """

    objectives: tuple[str, ...]
    base: BaseModel
    normalizer: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    default_preference: dict[str, Any] | None = None
    conditioning: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters' folders: one per objective, unless the conditioning says otherwise."""
        return tuple((self.conditioning or {}).get("adapters", self.objectives))

    def to_json(self) -> dict[str, Any]:
        """The JSON form, with the schema version and how to mix."""
        return {
            "schema_version": SCHEMA_VERSION,
            "mixing": _MIXING[(self.conditioning or {}).get("kind", "adapter_mixture")],
            **dataclasses.asdict(self),
        }


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A fingerprint of a model's weights that is cheap (64 values of each tensor) and the same in float32 and bfloat16.

    It tells a bundle whether this is the base that it was trained on: `SteerablePolicy.base_digest` and `steer.json` hold it. What must not change with any
    value goes by `moalign.training.pair_cache.exact_base_digest`, which reads all of them.

    Args:
        tensors: names and weights of the base model, adapters left out.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        flat = tensor.detach().reshape(-1)
        picks = torch.linspace(0, flat.numel() - 1, min(64, flat.numel()), dtype=torch.float64).long().to(flat.device)
        values = flat[picks].to(torch.bfloat16).view(torch.int16).cpu().tolist()
        digest.update(f"{name} {tuple(tensor.shape)} {values}\n".encode())
    return digest.hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `steer.json` with the sha256 of every adapter file in the folder."""
    files = {
        f"{adapter}/{file.name}": sha256(file)
        for adapter in manifest.adapters
        for file in sorted((folder / adapter).iterdir())
        if file.suffix in (".json", ".safetensors")
    }
    manifest = dataclasses.replace(manifest, files=files)
    write_text(folder / MANIFEST, json.dumps(manifest.to_json(), indent=2) + "\n")


def is_bundle(folder: str | Path) -> bool:
    """Whether a folder carries a `steer.json`."""
    return (Path(folder) / MANIFEST).is_file()


def read_manifest(folder: str | Path, verify: bool = True) -> Manifest:
    """Read `steer.json` and check that the bundle is whole.

    Args:
        folder (`str` or `Path`): the bundle.
        verify (`bool`, *optional*, defaults to `True`): compare the sha256 of every file.

    Raises:
        InputError: no bundle, a newer schema, a missing field, a missing or altered file.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        what = f"is no bundle: it has no {MANIFEST}" if folder.is_dir() else "is no bundle: there is no such folder"
        raise InputError(f"{folder} {what}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"expected an object, found {type(content).__name__}")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    manifest = _parse(path, content)
    for name, expected in manifest.files.items() if verify else ():
        file = folder / name
        if not file.is_file():
            raise InputError(f"{folder}: file '{name}' is missing, {MANIFEST} lists it")
        found = sha256(file)
        if found != expected:
            raise InputError(
                f"{folder}: file '{name}' was altered after the bundle was saved: sha256 is {found[:12]}…, "
                f"{MANIFEST} says {expected[:12]}…"
            )
    return manifest


def _parse(path: Path, content: Mapping[str, Any]) -> Manifest:
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: field 'schema_version': found {version!r}, this moalign reads {SCHEMA_VERSION}")
    for name in ("objectives", "base", "files"):
        if name not in content:
            raise InputError(f"{path}: field '{name}' is missing")
    allowed = [f.name for f in dataclasses.fields(Manifest)]
    for name in content:
        if name not in allowed and name not in ("schema_version", "mixing"):
            raise unknown_name(f"field in {path}", name, allowed)
    try:
        fields = {name: value for name, value in content.items() if name in allowed}
        fields |= {"objectives": tuple(content["objectives"]), "base": BaseModel(**content["base"])}
        return Manifest(**fields)
    except TypeError as error:
        raise InputError(f"{path}: field 'base' or 'objectives': {error}") from error


def base_location(manifest: Manifest, folder: Path) -> str:
    """Where to load the base from: a folder that exists (also relative to the bundle), else the hub id."""
    name = manifest.base.name_or_path
    beside = Path(os.path.normpath(folder.resolve() / name))
    if beside.is_dir():
        return str(beside)
    return name


def portable_location(name_or_path: str, folder: Path) -> str:
    """How a bundle at `folder` names its base: local folders relative to itself, so that both can move together."""
    local = Path(name_or_path)
    if local.is_dir():
        return Path(os.path.relpath(local.resolve(), folder.resolve())).as_posix()
    return name_or_path
