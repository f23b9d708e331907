"""`remote.json`: a remote reward as a folder, so that it loads like any other reward; it never holds a key."""

import importlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from frontier.atomic import write_text
from frontier.errors import InputError, unknown_name
from reward_heads.remote.endpoint import RETRY, SETTINGS, Endpoint
from reward_heads.remote.retry import Retry
from reward_heads.remote.score_cache import ScoreCache
from reward_heads.transforms import FILE_NAME as TRANSFORMS

FILE_NAME = "remote.json"
SCHEMA_VERSION = 1
KINDS = {
    "http": "reward_heads.remote.http:HTTPReward",
    "judge": "reward_heads.remote.judge:PrincipleJudge",
}
Reward = TypeVar("Reward")


class RemoteReward:
    """Loads whichever remote reward a folder describes; `from_pretrained` returns an `HTTPReward` or a `PrincipleJudge`."""

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], *, device: str | torch.device | None = None, batch_size: int = 64
    ) -> Any:
        """Read `remote.json`. Loading asks the server nothing.

        Whoever wrote the folder chose the address that will see the texts, and the variable whose key it will get: a warning names both.

        Args:
            folder (`str` or path): what `save_pretrained` wrote.
            device (*optional*): not used; the model runs elsewhere.
            batch_size (`int`, *optional*): not used; the number of texts per request is part of the description.

        Raises:
            InputError: no such file, or a kind or field that is unknown, missing or wrong; names it.
        """
        kind, _ = _read(Path(folder))
        module, _, name = KINDS[kind].partition(":")
        return getattr(importlib.import_module(module), name).from_pretrained(folder)


def save_remote(folder: str | os.PathLike[str], kind: str, endpoint: Endpoint, fields: Mapping[str, Any]) -> None:
    """Write `remote.json` into a folder, which is made where there is none: these fields and how the endpoint is asked, never its key.

    Whole or not at all; the transforms of an earlier reward go away.
    """
    content = {"schema_version": SCHEMA_VERSION, "kind": kind, **fields, **endpoint.settings()}
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_text(Path(folder) / FILE_NAME, text + "\n")
    (Path(folder) / TRANSFORMS).unlink(missing_ok=True)


def load_remote(
    folder: str | os.PathLike[str],
    kind: str,
    names: tuple[str, ...],
    make: Callable[..., Reward],
    cache: ScoreCache | str | os.PathLike[str] | None,
) -> Reward:
    """The reward whose fields [`save_remote`] wrote.

    Args:
        folder (`str` or path): where `remote.json` lies.
        kind (`str`): the kind that it must be.
        names (`tuple[str, ...]`): the fields that must be there besides those of the endpoint, and no others.
        make (`Callable`): takes the fields, `retry` and `cache`.
        cache (*optional*): for `make`.

    Raises:
        InputError: no such file, another kind, or a field that is unknown, missing or wrong.
    """
    path = Path(folder) / FILE_NAME
    found, fields = _read(Path(folder))
    if found != kind:
        raise InputError(f"{path}: field 'kind' must be '{kind}', found '{found}': load it with RemoteReward")
    names += SETTINGS
    for name in fields:
        if name not in names:
            raise InputError(f"{path}: {unknown_name('field', name, names)}")
    missing = [name for name in names if name not in fields]
    if missing:
        raise InputError(f"{path}: field '{missing[0]}' is missing")
    if fields.get("api_key_env"):
        where = fields.get("url", fields.get("base_url"))
        warnings.warn(f"{path}: texts, and the key in ${fields['api_key_env']}, will be sent to {where}", stacklevel=3)
    try:
        retry = Retry(**{name: fields.pop(name) for name in RETRY})
        return make(**fields, retry=retry, cache=cache)
    except (InputError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from error


def _read(folder: Path) -> tuple[str, dict[str, Any]]:
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be an object, found {type(content).__name__}")
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: field 'schema_version' must be {SCHEMA_VERSION}, found {version!r}")
    kind = str(content.pop("kind", ""))
    if kind not in KINDS:
        raise InputError(f"{path}: {unknown_name('kind of remote reward', kind, KINDS)}")
    return kind, content
