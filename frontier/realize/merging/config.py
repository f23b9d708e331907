"""Read what to merge, in mergekit's form: YAML with `models` (or `slices`), `merge_method`, `base_model`, `parameters`, `dtype`, ..."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from frontier.errors import InputError, unknown_name
from frontier.realize.merging.reference import Reference
from frontier.realize.merging.settings import plain

KEYS = ("models", "slices", "merge_method", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source")
# Keys of mergekit that are not for us; unlike unknown ones they are worth a reason.
REFUSED = {
    "modules": "only models of one text part can be merged; give `models` or `slices`",
    "tokenizer": "tokens are not rearranged; give `tokenizer_source`, with models that share their token ids",
    "chat_template": "the template comes with the tokenizer; name its model as `tokenizer_source`",
    "residual_weight": "a scaled residual is a pass-through merge of its own",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\Z")


@dataclass(frozen=True)
class Source:
    """One model of a slice.

    Args:
        model (`Reference`): which.
        layers (`tuple[int, int]`, *optional*): its layers, the first and the one after the last; by default all.
        parameters (`Mapping[str, Any]`): settings of this model, as the file has them.
    """

    model: Reference
    layers: tuple[int, int] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Slice:
    """Some layers of the result, and the models whose layers are merged into them.

    Args:
        sources (`tuple[Source, ...]`): one or more, of equally many layers.
        base (`Reference`, *optional*): the slice's own base model.
        parameters (`Mapping[str, Any]`): settings of the slice.
    """

    sources: tuple[Source, ...]
    base: Reference | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeConfig:
    """A merge as it was asked for. `models` become one slice over all layers.

    Args:
        method (`str`): a name in `frontier.realize.merging.methods.METHODS`.
        slices (`tuple[Slice, ...]`): the result's layers in order.
        base (`Reference`, *optional*): the model that the others started from.
        parameters (`Mapping[str, Any]`): settings of all.
        out_dtype (`torch.dtype`, *optional*): of the result; by default each tensor keeps the base's (the first model's) dtype. Sums are in float32 whatever it is.
        tokenizer_source (`str`, *optional*): `base`, a model's name, or `union`.
        text (`str`): the file, for the model card.
    """

    method: str
    slices: tuple[Slice, ...]
    base: Reference | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    out_dtype: torch.dtype | None = None
    tokenizer_source: str | None = None
    text: str = ""

    @classmethod
    def read(cls, path: str | Path) -> "MergeConfig":
        """Read a YAML (or JSON) file.

        Raises:
            InputError: no such file, not YAML, or `from_dict` refuses what it holds; the message begins with the path.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}"
            ) from error
        try:
            return cls.parse(text)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> "MergeConfig":
        """Read YAML text."""
        try:
            found = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}: " if mark is not None else ""
            raise InputError(f"{where}not valid YAML: {getattr(error, 'problem', None) or error}") from error
        return cls.from_dict(found, text)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], text: str | None = None) -> "MergeConfig":
        """Read what the YAML says, from Python.

        Args:
            found (`Mapping[str, Any]`): mergekit's form.
            text (`str`, *optional*): the same as text, for the model card; by default written anew.

        Raises:
            InputError: an unknown key (the nearest valid one is named), one that is not supported, a missing one, a value of the wrong kind.
        """
        _check_keys("the merge configuration", found, KEYS)
        if ("models" in found) == ("slices" in found):
            raise InputError("the merge configuration needs either models or slices")
        method = found.get("merge_method")
        if not isinstance(method, str):
            raise InputError(f"merge_method must be the name of a method, found {method!r}")
        if "models" in found:
            slices: tuple[Slice, ...] = (Slice(tuple(_sources("models", found["models"], ranges=False))),)
        else:
            slices = tuple(_slices(found["slices"]))
        dtypes = [_dtype(key, found.get(key)) for key in ("out_dtype", "dtype")]
        source = found.get("tokenizer_source")
        if source is not None and not isinstance(source, str):
            raise InputError(f"tokenizer_source must be base, union or a model's name, found {source!r}")
        return cls(
            method=method,
            slices=slices,
            base=_reference("base_model", found.get("base_model")),
            parameters=_parameters("parameters", found.get("parameters")),
            out_dtype=dtypes[0] or dtypes[1],
            tokenizer_source=source,
            text=yaml.safe_dump(_plain(plain(found)), sort_keys=False) if text is None else text,
        )

    def references(self) -> tuple[Reference, ...]:
        """All models, the base first, each once."""
        bases = [ref for ref in (self.base, *(s.base for s in self.slices)) if ref is not None]
        return tuple(dict.fromkeys([*bases, *(source.model for s in self.slices for source in s.sources)]))


def _slices(found: Any) -> Iterator[Slice]:
    for i, entry in enumerate(_list("slices", found)):
        where = f"slices[{i}]"
        _check_keys(where, entry, ("sources", "base_model", "parameters"))
        sources = tuple(_sources(f"{where}.sources", entry.get("sources"), ranges=True))
        lengths = {source.layers[1] - source.layers[0] for source in sources if source.layers}
        if len(lengths) > 1:
            raise InputError(
                f"{where}: its sources must have equally many layers, found {', '.join(map(str, sorted(lengths)))}"
            )
        base = _reference(f"{where}.base_model", entry.get("base_model"))
        yield Slice(sources, base, _parameters(f"{where}.parameters", entry.get("parameters")))


def _sources(where: str, found: Any, ranges: bool) -> Iterator[Source]:
    seen: set[Reference] = set()
    for i, entry in enumerate(_list(where, found)):
        place = f"{where}[{i}]"
        _check_keys(place, entry, ("model", "layer_range", "parameters") if ranges else ("model", "parameters"))
        model = _reference(f"{place}.model", entry.get("model"))
        if model is None:
            raise InputError(f"{place} needs a model")
        if model in seen and not ranges:
            raise InputError(f"{place}: model '{model}' stands there twice: add up its weights")
        seen.add(model)
        layers = _range(f"{place}.layer_range", entry.get("layer_range")) if ranges else None
        yield Source(model, layers, _parameters(f"{place}.parameters", entry.get("parameters")))


def _range(where: str, found: Any) -> tuple[int, int]:
    whole = isinstance(found, list) and len(found) == 2 and all(type(end) is int for end in found)
    if not whole or not 0 <= found[0] < found[1]:
        raise InputError(f"{where} must be [first, end], the end not included, found {found!r}")
    return found[0], found[1]


def _reference(where: str, found: Any) -> Reference | None:
    if found is None:
        return None
    if not isinstance(found, str | Path):
        raise InputError(f"{where} must be a folder or a hub id, found {found!r}")
    return Reference.parse(str(found))


def _parameters(where: str, found: Any) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{where} must be settings by name, found {found!r}")
    return {name: _numbers(plain(value)) for name, value in found.items()}


def _numbers(value: Any) -> Any:
    """The value with texts that are numbers as numbers: YAML 1.1 reads 1e-5 as text."""
    if isinstance(value, Mapping):
        return {key: item if key == "filter" else _numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    if isinstance(value, str) and _NUMBER.match(value):
        return float(value)
    return value


def _dtype(key: str, found: Any) -> torch.dtype | None:
    if found is None:
        return None
    name = str(found).removeprefix("torch.")
    if name not in DTYPES:
        raise unknown_name(key, name, DTYPES)
    return DTYPES[name]


def _check_keys(where: str, found: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(found, Mapping):
        raise InputError(f"{where} must be keys with values, found {found!r}")
    for key in found:
        if key in REFUSED:
            raise InputError(f"{where}: {key} is not supported: {REFUSED[key]}")
        if key not in allowed:
            raise unknown_name(f"key of {where}", str(key), allowed)


def _list(where: str, found: Any) -> list[Any]:
    if not isinstance(found, list | tuple) or not found:
        raise InputError(f"{where} must be a list of at least one entry, found {found!r}")
    return list(found)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | None) else str(value)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key that comes twice, of which it would silently drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' comes twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
