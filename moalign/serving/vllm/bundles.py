"""Open a bundle over the base model that vLLM serves, once per state of its files, and write its exact adapters."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from frontier.errors import InputError
from frontier.realize.lora_writing import write_lora
from moalign.bundle import MANIFEST, Manifest, base_location, read_manifest
from moalign.exporting.source import ExportSource
from moalign.preference import Preference

WEIGHTS = "adapter_model.safetensors"
# Parts of LoRA folders that vLLM does not load, by their field in adapter_config.json.
_NOT_LOADED = ("modules_to_save", "use_dora", "lora_bias")


def fingerprint(folder: Path) -> str:
    """What identifies the state of a bundle: sha256 of its `steer.json`, which lists that of every adapter file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{folder / MANIFEST} cannot be read: {error.strerror}") from error


def needed_rank(folder: Path) -> int:
    """The largest rank that a layer of any adapter of the bundle can have, Σ r_k over its objectives; only the files' headers are read.

    Raises:
        InputError: no bundle, or one that vLLM cannot serve at weights.
    """
    manifest = read_manifest(folder, verify=False)
    _check_kind(manifest, folder)
    ranks: dict[str, int] = {}
    for name in manifest.adapters:
        _check_config(folder / name)
        try:
            with safe_open(folder / name / WEIGHTS, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - it is no dict
                    module, found, _ = key.partition(".lora_A.")
                    if not found:
                        module, found, _ = key.partition(".lora_embedding_A")
                    if found:
                        ranks[module] = ranks.get(module, 0) + int(file.get_slice(key).get_shape()[0])
        except (OSError, SafetensorError) as error:
            raise InputError(f"{folder / name / WEIGHTS} cannot be read: {error}") from error
    return max(ranks.values(), default=0)


def _check_kind(manifest: Manifest, folder: Path) -> None:
    kind = (manifest.conditioning or {}).get("kind", "adapter_mixture")
    if kind == "prompt":
        raise InputError(
            f"{folder} reads its preference in the prompt, so there is no adapter for one: serve its only adapter by --lora-modules, or use moalign serve"
        )


def _check_config(folder: Path) -> None:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'adapter_config.json'} cannot be read: {error}") from error
    found = next((name for name in _NOT_LOADED if config.get(name)), None)
    if found is not None:
        raise InputError(f"{folder} has {found}, which vLLM does not load: use moalign serve, or export merged weights")


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose files were checked, its adapters in memory.

    Args:
        state (`str`): the `fingerprint` that it was read at.
        source (`ExportSource`): adapters, and the files of the base.
        base_name (`str`): what vLLM calls the base.
    """

    state: str
    source: ExportSource
    base_name: str

    @classmethod
    def open(cls, folder: Path, base_name: str) -> "OpenBundle":
        """Read a bundle and compare its base with the one that is served, by their weights and not by their names.

        Args:
            folder (`Path`): the bundle.
            base_name (`str`): the model that vLLM serves: a folder, or a hub id whose files are on this machine.

        Raises:
            BrokenBundle: a file is missing or altered, or was replaced meanwhile.
            InputError: it is not a bundle of this base, or one that vLLM cannot serve.
        """
        state, manifest = _checked(folder)
        _check_kind(manifest, folder)
        try:
            source = ExportSource.from_bundle(folder, _on_disk(base_name, manifest, folder))
        finally:
            # What was read in between is of one state only if the state after it is that before it.
            if _checked(folder)[0] != state:
                raise BrokenBundle(f"{folder} changed while it was read")
        for name in source.conditioning.adapters:
            _check_config(folder / name)
        return cls(state, source, base_name)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names that weights are of."""
        return self.source.manifest.objectives

    @property
    def default_preference(self) -> Preference:
        """The bundle's, uniform weights where it has none."""
        default = self.source.manifest.default_preference
        return Preference.from_json(default, self.objectives) if default else Preference.uniform(self.objectives)

    @torch.no_grad()
    def write(self, weights: Sequence[float], folder: Path) -> int:
        """Write ΔW(w) as one LoRA folder, exact, with scaling 1.

        Args:
            weights (`Sequence[float]`): K weights.
            folder (`Path`): exists.

        Returns:
            `int`: the largest rank of a layer.

        Raises:
            InputError: an adapter does not fit the base.
        """
        preference = Preference(dict(zip(self.objectives, weights, strict=True)))
        total = self.source.total(self.source.weights(preference))
        revision = self.source.manifest.base.revision
        ranks = write_lora(total, folder, base=self.base_name, revision=revision, tensors=tuple(self.source.tensors))
        return max(ranks.values(), default=0)


class BrokenBundle(RuntimeError):
    """The files of a bundle are not what its `steer.json` says; someone has to mend them."""


def _checked(folder: Path) -> tuple[str, Manifest]:
    try:
        state = fingerprint(folder)
        return state, read_manifest(folder)
    except (InputError, OSError) as error:
        raise BrokenBundle(str(error)) from error


def _on_disk(base_name: str, manifest: Manifest, folder: Path) -> str:
    """The folder of the model that vLLM serves; nothing is downloaded, since vLLM has done that."""
    if os.path.isdir(base_name):
        return base_name
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    revision = manifest.base.revision if base_name == base_location(manifest, folder) else None
    try:
        return str(snapshot_download(base_name, revision=revision, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"the files of the served model '{base_name}'{at} are not on this machine, so it cannot be compared with the base of {folder}: "
            "serve it from a folder, or at the revision that the bundle was trained on"
        ) from error
