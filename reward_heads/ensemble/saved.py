"""An ensemble in a folder: `ensemble.json` and one subfolder per member, each a reward by itself."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from frontier.atomic import replace_folder
from frontier.errors import InputError, check_fields
from reward_heads.ensemble.ensemble import EnsembleReward
from reward_heads.ensemble.shared_trunk import SharedTrunk
from reward_heads.normalizer import Normalizer
from reward_heads.saved import load_reward, marker_of, save_reward
from reward_heads.transforms import FILE_NAME as TRANSFORMS
from reward_heads.transforms import fingerprint
from reward_heads.vector_reward import VectorReward

FILE_NAME = "ensemble.json"
SCHEMA_VERSION = 1

_FIELDS = ("schema_version", "objectives", "combine", "penalty", "scales", "shared_trunk", "members")


def digest_of(folder: str | os.PathLike[str]) -> str:
    """Hex sha256 over a saved reward and its transforms; a reward made of rewards names their digests in its marker file, so that theirs count too."""
    folder = Path(folder)
    digest = hashlib.sha256(fingerprint(folder, marker_of(folder) or "config.json").encode())
    if (folder / TRANSFORMS).is_file():
        digest.update((folder / TRANSFORMS).read_bytes())
    return digest.hexdigest()


def save_part(reward: VectorReward, beside: Path, stem: str) -> dict[str, str]:
    """Save a reward into a subfolder that is named by its digest too, so that it never takes the place of another one; returns what [`load_part`] needs."""
    draft = beside / stem
    save_reward(reward, draft)
    digest = digest_of(draft)
    draft.rename(beside / f"{stem}-{digest[:8]}")
    return {"folder": f"{stem}-{digest[:8]}", "digest": digest}


def place_parts(folder: str | os.PathLike[str], beside: Path, marker: str) -> None:
    """Move everything but the marker file into a folder that exists: until the marker follows, the folder is what it was.

    Args:
        folder (`str` or path): the target.
        beside (`Path`): what is about to be placed there, complete.
        marker (`str`): the name of the file that says which parts count.
    """
    if Path(folder).exists():
        for part in (path for path in beside.iterdir() if path.is_dir()):
            there = Path(folder) / part.name  # from a save that was cut off, or the same part
            for file in [path for path in there.rglob("*") if path.is_file()]:
                if not (part / file.relative_to(there)).exists():
                    file.unlink()  # a reward would read, say, transforms that were never its own
        for file in sorted(path for path in beside.rglob("*") if path.is_file() and path != beside / marker):
            target = Path(folder) / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def remove_old_parts(folder: str | os.PathLike[str], stems: str, keep: Collection[str]) -> None:
    """Remove the subfolders of earlier saves.

    Args:
        folder (`str` or path): complete, its marker file too.
        stems (`str`): pattern of what the names of such subfolders begin with.
        keep (`Collection[str]`): those that the marker file names.
    """
    for part in Path(folder).iterdir():
        if part.is_dir() and part.name not in keep and re.fullmatch(f"({stems})-[0-9a-f]{{8}}", part.name):
            shutil.rmtree(part)


def save_ensemble(ensemble: EnsembleReward, folder: str | os.PathLike[str]) -> None:
    """Write the folder; see [`EnsembleReward.save_pretrained`]."""
    members = [ensemble.trunk.reward] if ensemble.trunk is not None else ensemble.members
    with replace_folder(folder) as beside:
        named = []
        for number, member in enumerate(members, start=1):
            named.append(save_part(member, beside, "trunk" if ensemble.trunk is not None else f"member-{number}"))
        content = {
            "schema_version": SCHEMA_VERSION,
            "objectives": list(ensemble.objectives),
            "combine": ensemble.combine,
            "penalty": ensemble.penalty,
            "scales": "shared" if ensemble.scales == "shared" else [scale.to_json() for scale in ensemble.scales],
            "shared_trunk": ensemble.trunk is not None,
            "members": named,
        }
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (beside / FILE_NAME).write_text(text + "\n", encoding="utf-8")
        place_parts(folder, beside, FILE_NAME)
    remove_old_parts(folder, r"trunk|member-\d+", [part["folder"] for part in named])


def load_ensemble(
    folder: str | os.PathLike[str], *, device: str | torch.device | None = None, batch_size: int = 64
) -> EnsembleReward:
    """Read the folder; see [`EnsembleReward.from_pretrained`]."""
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(f"no ensemble in {folder}: it has no {FILE_NAME}")
    try:
        content = _checked(json.loads(path.read_text(encoding="utf-8")))
        found = [load_part(path.parent, named, device, batch_size) for named in content["members"]]
        scales = content["scales"]
        read: Any = scales if isinstance(scales, str) else [Normalizer.from_json(scale) for scale in scales]
        members = SharedTrunk(found[0]) if content["shared_trunk"] else found
        ensemble = EnsembleReward(members, content["combine"], penalty=content["penalty"], scales=read)
        if list(ensemble.objectives) != content["objectives"]:
            raise InputError(
                f"field 'objectives' has {', '.join(content['objectives'])}, but the members have {', '.join(ensemble.objectives)}"
            )
        return ensemble
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error


def load_part(folder: Path, named: Any, device: str | torch.device | None, batch_size: int) -> Any:
    """The reward in a subfolder, once it is the one that was saved.

    Raises:
        InputError: it is not there, leads elsewhere, or was changed.
    """
    name = named["folder"]
    if Path(name).name != name or name == ".." or not (folder / name).is_dir():
        raise InputError(f"the subfolder '{name}' is missing beside it")
    if digest_of(folder / name) != named["digest"]:
        raise InputError(
            f"'{name}' is not the reward that was saved with it (weights, settings or transforms differ): save it again"
        )
    return load_reward(folder / name, device=device, batch_size=batch_size)


def _checked(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
    check_fields(content, _FIELDS)
    return content
