"""Save models of users with weights on a simplex: `low_rank.json` and `low_rank.safetensors`, whole or not at all."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from frontier.atomic import replace_folder
from frontier.errors import InputError, unknown_name
from reward_heads.users.simplex import Population
from reward_heads.users.simplex_users import SeenUsers, SimplexUsers

FILE_NAME = "low_rank.json"
WEIGHTS_NAME = "low_rank.safetensors"
SCHEMA_VERSION = 1
KINDS = {"bases": "LowRankUsers", "objectives": "ObjectiveUsers"}

_FIELDS = (
    *("schema_version", "kind", "names", "objective", "log_temperature", "population_users", "draws", "seed", "users"),
    *("more", "weights"),
)
_TENSORS = ("mean", "covariance", "counts", "means", "intervals")


def write(
    folder: str | os.PathLike[str],
    kind: str,
    model: SimplexUsers,
    more: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Save a model.

    Args:
        folder (`str` or path): files of other names in it are kept.
        kind (`str`): `"bases"` or `"objectives"`.
        model (`SimplexUsers`): what both kinds have.
        more (`Mapping`): what this kind has besides, for JSON.
        tensors (`Mapping[str, Tensor]`): and its tensors.
    """
    prior, seen = model.prior, model.seen
    own = {"mean": prior.mean, "covariance": prior.covariance, "counts": seen.counts, "means": seen.means}
    every = {**own, "intervals": seen.intervals, **tensors}
    weights = save_tensors({name: value.contiguous() for name, value in every.items()})
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "names": list(prior.names),
        "objective": model.objective,
        "log_temperature": prior.log_temperature,
        "population_users": prior.users,
        "draws": model.draws,
        "seed": model.seed,
        "users": list(seen.names),
        "more": dict(more),
        "weights": hashlib.sha256(weights).hexdigest(),
    }
    with replace_folder(folder) as beside:
        (beside / WEIGHTS_NAME).write_bytes(weights)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (beside / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read(
    folder: str | os.PathLike[str], kind: str, more: tuple[str, ...], tensors: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """What [`write`] saved.

    Args:
        folder (`str` or path): the folder.
        kind (`str`): the kind that it must be.
        more (`tuple[str, ...]`): the fields that this kind has besides.
        tensors (`tuple[str, ...]`): and its tensors.

    Returns:
        the arguments of `SimplexUsers`, and this kind's own fields and tensors.

    Raises:
        InputError: a file or field is missing, unknown or wrong; names it.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(f"{folder} holds no {KINDS[kind]}: it has no {FILE_NAME}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _check(content, kind, more)
        found = load_tensors(read_weights(path.with_name(WEIGHTS_NAME), content["weights"]))
        _names(found, (*_TENSORS, *tensors), "tensor")
        for name, values in found.items():
            if not values.isfinite().all():
                raise InputError(f"the tensor '{name}' is not finite")
        temperature, users = content["log_temperature"], content["population_users"]
        prior = Population(tuple(content["names"]), found["mean"], found["covariance"], temperature, users)
        seen = SeenUsers(tuple(content["users"]), *(found[name] for name in ("counts", "means", "intervals")))
        own = {"prior": prior, "seen": seen, "objective": content["objective"]}
        own |= {"draws": int(content["draws"]), "seed": int(content["seed"])}
        return own, dict(content["more"]), found
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, TypeError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise InputError(f"{path}: not what save_pretrained writes: {type(error).__name__}: {error}") from error


def read_weights(path: Path, digest: str) -> bytes:
    """A file of tensors, once it is the one that the JSON beside it was saved with.

    Raises:
        InputError: it is another one, of a save that was cut off.
    """
    weights = path.read_bytes()
    if hashlib.sha256(weights).hexdigest() != digest:
        raise InputError(f"{path.name} is not the one that was saved with it: save again")
    return weights


def _check(content: Any, kind: str, more: tuple[str, ...]) -> None:
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}")
    _names(content, _FIELDS, "field")
    if content["kind"] not in KINDS:
        raise unknown_name("kind", str(content["kind"]), KINDS)
    if content["kind"] != kind:
        raise InputError(f"holds {KINDS[content['kind']]}, not {KINDS[kind]}: load it with that class")
    _names(content["more"], more, "field of 'more'")


def _names(found: Mapping[str, Any], wanted: tuple[str, ...], what: str) -> None:
    for name in found:
        if name not in wanted:
            raise unknown_name(what, name, wanted)
    for name in wanted:
        if name not in found:
            raise InputError(f"{what} '{name}' is missing; it needs {', '.join(wanted)}")


def empty_seen(bases: int) -> SeenUsers:
    """Nobody."""
    none = torch.empty(0, bases, dtype=torch.float64)
    return SeenUsers((), torch.empty(0, dtype=torch.long), none, torch.empty(0, bases, 2, dtype=torch.float64))
