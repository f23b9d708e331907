"""`reward_heads.json`: what a reward model must remember beyond its weights, beside the ordinary model files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontier.atomic import write_text
from frontier.errors import InputError, check_fields, unknown_name
from reward_heads.head import Head
from reward_heads.joining import Joining
from reward_heads.normalizer import Normalizer
from reward_heads.pooling import POOLINGS

FILE_NAME = "reward_heads.json"
SCHEMA_VERSION = 2
TRAINING_KINDS = ("pairs", "ratings", "pairs+ratings")

_FIELDS_1 = ("schema_version", "objectives", "join", "truncation_side", "max_length", "training", "offset", "units")
_FIELDS = (*_FIELDS_1, "pooling", "heads")
_FIELDS_OF = {1: _FIELDS_1, SCHEMA_VERSION: _FIELDS}
_JOIN_FIELDS = ("conversational", "append_eos")


@dataclass(frozen=True)
class Sidecar:
    """The content of `reward_heads.json`.

    Args:
        objectives (`tuple[str, ...]`): K names, equal to the model's `id2label`.
        joining (`Joining`): how prompt and completion become one text.
        truncation_side (`str`): `"left"` keeps the end of a text that is too long, `"right"` its beginning.
        max_length (`int`): longest text in tokens.
        training (`str`, *optional*): `"pairs"`, `"ratings"`, `"pairs+ratings"`; `None` = not trained here.
        offset (`tuple[float, ...]`): K numbers, subtracted from the model's outputs: score = logit − offset.
        units (`Normalizer`, *optional*): location and scale of the ratings: `units.inverse(scores)` is in the units of the data.
        pooling (`str`): `"model"` or `"mean"`, see `reward_heads.pooling`; files of schema 1, which knew no other, have `"model"`.
        heads (`tuple[Head, ...]`): K, with which losses each was trained and what they learned; empty = not known.
    """

    objectives: tuple[str, ...]
    joining: Joining
    truncation_side: str
    max_length: int
    training: str | None
    offset: tuple[float, ...]
    units: Normalizer | None
    pooling: str = "model"
    heads: tuple[Head, ...] = ()

    def write(self, folder: Path) -> None:
        """Write the file into `folder`: whole or not at all."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "objectives": list(self.objectives),
            "join": {"conversational": self.joining.conversational, "append_eos": self.joining.append_eos},
            "truncation_side": self.truncation_side,
            "max_length": self.max_length,
            "training": self.training,
            "offset": list(self.offset),
            "units": None if self.units is None else self.units.to_json(),
            "pooling": self.pooling,
            "heads": [head.to_json() for head in self.heads],
        }
        write_text(folder / FILE_NAME, json.dumps(content, indent=2, allow_nan=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Sidecar | None":
        """Read the file of `folder`; `None` if it has none.

        Raises:
            InputError: the file is not JSON, of a newer schema, or a field is missing, unknown or wrong; names the file and the field.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON: {error}") from error
        try:
            return cls._parse(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{path}: a field has the wrong type: {error}") from error

    @classmethod
    def _parse(cls, content: Any) -> "Sidecar":
        if not isinstance(content, dict):
            raise InputError(f"must be an object with {', '.join(_FIELDS)}, found {type(content).__name__}")
        version = content.get("schema_version")
        if version not in (1, SCHEMA_VERSION) or isinstance(version, bool):
            raise InputError(f"field 'schema_version' must be 1 or {SCHEMA_VERSION}, found {version!r}")
        for found, fields in ((content, _FIELDS_OF[version]), (content.get("join", {}), _JOIN_FIELDS)):
            check_fields(found, fields)
        if content["truncation_side"] not in ("left", "right"):
            raise unknown_name("truncation_side", str(content["truncation_side"]), ("left", "right"))
        if content["training"] is not None and content["training"] not in TRAINING_KINDS:
            raise unknown_name("training", str(content["training"]), TRAINING_KINDS)
        if len(content["offset"]) != len(content["objectives"]):
            raise InputError(
                f"field 'offset' must have {len(content['objectives'])} numbers, found {len(content['offset'])}"
            )
        pooling, heads = content.get("pooling", "model"), content.get("heads", [])
        if pooling not in POOLINGS:
            raise unknown_name("pooling", str(pooling), POOLINGS)
        if heads and len(heads) != len(content["objectives"]):
            raise InputError(f"field 'heads' must have {len(content['objectives'])} heads or none, found {len(heads)}")
        return cls(
            objectives=tuple(content["objectives"]),
            joining=Joining(content["join"]["conversational"], bool(content["join"]["append_eos"])),
            truncation_side=content["truncation_side"],
            max_length=int(content["max_length"]),
            training=content["training"],
            offset=tuple(float(value) for value in content["offset"]),
            units=None if content["units"] is None else Normalizer.from_json(content["units"]),
            pooling=pooling,
            heads=tuple(Head.from_json(head) for head in heads),
        )
