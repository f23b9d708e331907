"""A policy as it lies on the disk, ready to be exported without loading it: its base's files, its adapters, how they mix."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.lora_folder import LoraFolder
from frontier.realize.lora_writing import LoraSum, sum_as_lora
from frontier.realize.merging.checkpoint import Checkpoint
from frontier.realize.merging.plan import MASK, TABLES
from frontier.realize.merging.reference import find_folder
from frontier.realize.weighted_source import BaseTensors
from moalign.bundle import BaseModel, Manifest, base_location, read_manifest, sha256, weights_digest
from moalign.conditioning.base import Conditioning, conditioning_from_json
from moalign.exporting.place import check_place
from moalign.preference import Preference


@dataclass(frozen=True)
class ExportSource:
    """What an export is made of.

    Args:
        manifest (`Manifest`): objectives, units, training and checksums; of loose adapters what is known of them.
        conditioning (`Conditioning`): how a preference becomes the adapters' weights.
        folders (`tuple[LoraFolder, ...]`): the adapters, in the conditioning's order.
        base (`Checkpoint`): the base's files.
        base_name (`str`): where others load the base from: a hub id, or a folder.
        origin (`str`): the bundle, or the adapters' folders.
        same_base (`bool`): adapters that name different bases are refused; those of a bundle have a digest to go by.

    Example:
        ```python
        source = ExportSource.from_bundle("runs/policy")
        export_point(source, Preference.parse("helpful=0.7,brief=0.3"), "out", "merged")
        ```
    """

    manifest: Manifest
    conditioning: Conditioning
    folders: tuple[LoraFolder, ...]
    base: Checkpoint
    base_name: str
    origin: str
    same_base: bool = True

    @classmethod
    def from_bundle(cls, folder: str | Path, base: str | Path | None = None) -> "ExportSource":
        """Open a bundle and check that its files and its base are what they were when it was saved.

        Args:
            folder (`str` or `Path`): the bundle.
            base (`str` or `Path`, *optional*): where its base lies now, if it moved: a folder, or a hub id with `@revision`.

        Raises:
            InputError: a file is missing, altered or corrupt, or the base is another one.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        conditioning = conditioning_from_json(manifest.conditioning, manifest.objectives)
        check_exportable(conditioning)
        if base is None:
            location, revision = base_location(manifest, folder), manifest.base.revision
        else:
            location, revision = split_revision(base)
            manifest = dataclasses.replace(manifest, base=dataclasses.replace(manifest.base, revision=revision))
        checkpoint = _open_base(location, revision, f"bundle {folder} needs it")
        check_digest(checkpoint, manifest, folder)
        folders = tuple(LoraFolder.read(folder / name) for name in conditioning.adapters)
        return cls(manifest, conditioning, folders, checkpoint, _public_name(location), str(folder), same_base=False)

    @classmethod
    def from_adapters(cls, base: str | Path, adapters: Mapping[str, str | Path]) -> "ExportSource":
        """Open LoRA folders that any tool trained, one per objective, over a base.

        Args:
            base (`str` or `Path`): the base model's folder or hub id, with `@revision`.
            adapters (`Mapping[str, path]`): objective to adapter folder.

        Raises:
            InputError: a folder is missing or broken.
        """
        from moalign.conditioning.adapter_mixture import MixtureConditioning

        if not adapters:
            raise InputError("adapters is empty: name at least one objective and its adapter folder")
        location, revision = split_revision(base)
        checkpoint = _open_base(location, revision, "the adapters need it")
        folders = tuple(LoraFolder.read(path) for path in adapters.values())
        files = {
            f"{name}/{file}": sha256(Path(path) / file)
            for name, path in adapters.items()
            for file in ("adapter_config.json", "adapter_model.safetensors")
        }
        manifest = Manifest(
            tuple(adapters),
            BaseModel(_public_name(location), weights_digest(_named(checkpoint)), revision),
            files=files,
        )
        origin = ", ".join(f"{name}: {path}" for name, path in adapters.items())
        conditioning = MixtureConditioning(tuple(adapters))
        return cls(manifest, conditioning, folders, checkpoint, _public_name(location), origin)

    @property
    def tensors(self) -> BaseTensors:
        """The base's tensors by the names that the adapters use, read when looked at."""
        return BaseTensors(self.base, [name for folder in self.folders for name in folder.tensors])

    def weights(self, preference: Preference) -> list[float]:
        """What each adapter counts at a preference."""
        row = preference.as_tensor(self.manifest.objectives, dtype=torch.float64).unsqueeze(0)
        return [float(w) for w in self.conditioning.mixing(row)[0]]

    def total(self, weights: Sequence[float]) -> LoraSum:
        """The exact sum of the adapters at these weights as one LoRA."""
        return sum_as_lora(self.folders, weights, self.tensors, same_base=self.same_base)

    def place(self, out: str | Path) -> Path:
        """The folder to write, once it is none that the policy is made of; see `check_place`."""
        return check_place(out, self.base.folder, [folder.path for folder in self.folders])


def split_revision(base: str | Path) -> tuple[str, str | None]:
    """A base's name and its revision apart; a folder that exists under the whole name has none.

    Example:
        >>> split_revision("org/model@v2")
        ('org/model', 'v2')
    """
    if os.path.isdir(base):
        return str(base), None
    location, _, revision = str(base).partition("@")
    return location, revision or None


def check_exportable(conditioning: Conditioning) -> None:
    """Refuse a policy whose weights are the same at every preference.

    Raises:
        InputError: it reads its preference in the prompt.
    """
    if conditioning.kind == "prompt":
        raise InputError(
            "this policy reads its preference in the prompt, so no weights stand for one: "
            f"export its adapter '{conditioning.adapters[0]}' as it is and put the preference into the prompt"
        )


def check_digest(base: Checkpoint, manifest: Manifest, bundle: Path) -> None:
    """Compare the base's files with the digest that the bundle took of the model in memory.

    Raises:
        InputError: another model.
    """
    if any(layout.dtype == torch.float16 for layout in base.layouts.values()):
        return  # the digest is that of bfloat16, in which float16 would round otherwise than what was loaded
    found = weights_digest(_named(base))
    if found == manifest.base.digest:
        return
    names = _model_names(base)
    lazy = BaseTensors(base, names)
    if any(name not in lazy for name in names):
        return  # the files call tensors otherwise than the model: names and shapes of what the adapters change are compared later
    found = weights_digest((name, lazy[name]) for name in names)
    if found != manifest.base.digest:
        raise InputError(
            f"{base.name} is not the base model of bundle {bundle}: the digest of its weights is {found[:12]}…, the bundle "
            f"was trained on '{manifest.base.name_or_path}' with {manifest.base.digest[:12]}…"
        )


def _named(base: Checkpoint) -> list[tuple[str, Tensor]]:
    # Buffers of old files, which the model itself does not have among its weights.
    own = [n for n in (*base.layouts, *base.tied) if not (TABLES.search(n) or (MASK.search(n) and _rank(base, n) == 4))]
    return [(name, base.mapped(name)) for name in own]


def _rank(base: Checkpoint, name: str) -> int:
    return len(base.layouts[base.tied.get(name, name)].shape)


def _model_names(base: Checkpoint) -> Sequence[str]:
    """What transformers calls the tensors of this model once it is loaded, found without loading it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(base.folder)))
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot load the configuration of the base model {base.name}: {reason}") from error
    return list(model.state_dict())


def _open_base(location: str, revision: str | None, why: str) -> Checkpoint:
    try:
        return Checkpoint(find_folder(f"{location}@{revision}" if revision else location), location)
    except InputError as error:
        raise InputError(
            f"cannot open the base model '{location}' ({why}): {error}; name where it lies with --base"
        ) from error


def _public_name(location: str) -> str:
    return str(Path(location).resolve()) if os.path.isdir(location) else location


def adapter_digests(manifest: Manifest) -> dict[str, str]:
    """Sha256 of each adapter's weights."""
    suffix = "/adapter_model.safetensors"
    return {name.removesuffix(suffix): digest for name, digest in manifest.files.items() if name.endswith(suffix)}


def with_base(manifest: Manifest, name: str) -> Manifest:
    """The same, its base called by where others load it from."""
    return dataclasses.replace(manifest, base=dataclasses.replace(manifest.base, name_or_path=name))
