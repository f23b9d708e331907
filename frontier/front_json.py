"""Write a front so that no crash can leave it half-written or beside the wrong samples, and read it back bit for bit.

`front.json` holds everything but the per-prompt rewards; they stand beside it in `front.prompts.safetensors`, whose SHA-256 is in the JSON.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.atomic import replace_file, write_text
from frontier.errors import InputError, unknown_name
from frontier.points import FrontPoint, as_list
from frontier.prompt_rewards import PromptRewards

if TYPE_CHECKING:
    from frontier.front import ParetoFront

SCHEMA = "frontier.ParetoFront"
SCHEMA_VERSION = 2
# Version 1 had no per-prompt rewards; everything else is the same.
READABLE = (1, 2)
SUFFIX = ".prompts.safetensors"
OTHER_SUFFIX = ".prompt_rewards.safetensors"  # of a front whose name does not end in .json, lest `front` and `front.json` share one file
DIGITS = 16  # of the digest, in a waiting file's name


class MissingSamples(InputError):
    """A front whose JSON is there and whose file of per-prompt rewards is not."""


def prompts_file(path: str | os.PathLike[str]) -> Path:
    """Where the per-prompt rewards of the front in this JSON file stand: `front.json` has them in `front.prompts.safetensors`, `front` in `front.prompt_rewards.safetensors`."""
    path = Path(path)
    stem = path.name.removesuffix(".json")
    return path.with_name(stem + (SUFFIX if stem != path.name else OTHER_SUFFIX))


def save_front(front: "ParetoFront", path: str | os.PathLike[str]) -> Path:
    """Write a front as JSON, with its per-prompt rewards beside it. See `ParetoFront.save`.

    The samples are written first, under a name made of their digest; then the JSON, which replaces the old one in one step; then the samples take their final name, where the
    old JSON's samples stood till then. Whatever is interrupted, the JSON that is there finds its own samples under one of the two names.
    """
    path, final = Path(path), prompts_file(path)
    content = None if front.prompt_rewards is None else front.prompt_rewards.to_bytes()
    digest = None if content is None else hashlib.sha256(content).hexdigest()
    text = _document(front, path, None if digest is None else {"file": final.name, "sha256": digest})
    if content is not None and digest is not None:
        with replace_file(_pending(final, digest)) as beside:
            beside.write_bytes(content)
    write_text(path, text)
    if digest is None:
        final.unlink(missing_ok=True)  # the samples of the front that stood here before
    else:
        os.replace(_pending(final, digest), final)
    for stray in path.parent.glob(f".{_escaped(final.stem)}.{'[0-9a-f]' * DIGITS}{final.suffix}"):
        stray.unlink(missing_ok=True)  # of a save that was interrupted
    return path


def load_front(path: str | os.PathLike[str], of: type["ParetoFront"], *, prompt_rewards: bool) -> "ParetoFront":
    """Read a front that `save_front` wrote. See `ParetoFront.load`."""
    path = Path(path)
    try:
        document = json.loads(path.read_text(encoding="utf8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable front: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise InputError(f"{path}: field schema must be {SCHEMA!r}, found {found!r}")
    version = document.pop("schema_version", None)
    if isinstance(version, bool) or version not in READABLE:
        raise InputError(
            f"{path}: field schema_version must be {' or '.join(map(str, READABLE))}, found {version!r}; a newer front needs a newer frontier"
        )
    del document["schema"]
    try:
        names = [f.name for f in fields(of)]
        _check_fields("", document, names if version > 1 else [n for n in names if n != "prompt_rewards"])
        points = [_from_json(f"points[{i}]", p) for i, p in enumerate(as_list("points", document["points"]))]
        reference = document["reference_policy"]
        if reference is not None:
            document["reference_policy"] = _from_json("reference_policy", reference)
        samples = _samples(path, document.pop("prompt_rewards", None), read=prompt_rewards)
        return of(**(document | {"points": points, "prompt_rewards": samples}))
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error


def _document(front: "ParetoFront", path: Path, samples: dict[str, str] | None) -> str:
    document = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION}
    document |= {f.name: getattr(front, f.name) for f in fields(front)}
    document |= {
        "points": [_to_json(p) for p in front.points],
        "reference_policy": front.reference_policy and _to_json(front.reference_policy),
        "prompt_rewards": samples,
    }
    try:
        return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: the front can't be written as JSON: {error}") from error


def _pending(final: Path, digest: str) -> Path:
    """Where samples wait until their JSON is written."""
    return final.with_name(f".{final.stem}.{digest[:DIGITS]}{final.suffix}")


def _samples(path: Path, record: Any, *, read: bool) -> PromptRewards | None:
    """The per-prompt rewards that the JSON names, once their digest is what it says."""
    if record is None:
        return None
    _check_fields("prompt_rewards", record, ["file", "sha256"])
    name, digest = record["file"], record["sha256"]
    texts = isinstance(name, str) and isinstance(digest, str)
    if not texts or not digest.isalnum() or Path(name).name != name or name in ("", "..") or "\\" in name:
        raise InputError(
            f"prompt_rewards must name a file beside the front and its sha256, found {name!r} and {digest!r}"
        )
    if not read:
        return None
    # The file has the name in the JSON, or that of the JSON where both were renamed; after an interruption it still waits under either.
    finals = dict.fromkeys([path.with_name(name), prompts_file(path)])
    final = next(iter(finals))
    waiting = [_pending(each, digest) for each in finals]
    places = [place for place in (*finals, *waiting) if place.is_file()]
    if not places:
        raise MissingSamples(
            f"its per-prompt rewards, {final}, are missing: copy them along with the JSON, or read the front without them (ParetoFront.load(path, prompt_rewards=False))"
        )
    found = []
    for place in places:
        content = place.read_bytes()
        found.append(hashlib.sha256(content).hexdigest())
        if found[-1] == digest:
            try:
                return PromptRewards.from_bytes(content)
            except InputError as error:
                raise InputError(f"{place}: {error}") from error
    raise InputError(
        f"its per-prompt rewards, {places[0]}, were altered or belong to another front: sha256 is {found[0][:16]}…, expected {digest[:16]}…"
    )


def _to_json(point: FrontPoint) -> dict[str, Any]:
    # JSON has no NaN: an unknown standard error is null.
    return asdict(point) | {"standard_error": [None if math.isnan(s) else s for s in point.standard_error]}


def _from_json(where: str, record: Any) -> FrontPoint:
    _check_fields(where, record, [f.name for f in fields(FrontPoint)])
    try:
        errors = [math.nan if s is None else s for s in as_list("standard_error", record["standard_error"])]
        return FrontPoint(**(record | {"standard_error": errors}))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check_fields(where: str, record: Any, names: list[str]) -> None:
    if not isinstance(record, dict):
        raise InputError(
            f"{where or 'the front'} must be an object with the fields {', '.join(names)}, found {record!r}"
        )
    for name in record:
        if name not in names:
            raise unknown_name(f"field of {where or 'the front'}", name, names)
    for name in names:
        if name not in record:
            raise InputError(f"field {where + '.' if where else ''}{name} is missing")


def _escaped(text: str) -> str:
    """A file name as it stands in a glob pattern."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no JSON number")
