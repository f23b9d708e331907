"""Turn the texts of a command line and the values of a YAML file into what a dataclass field expects, or say what it expects."""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from moalign.yaml_file import parse_flow

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Mismatch(Exception):
    """A value that does not fit a type; `str(error)` says what would, in words that follow "expected"."""


def convert(value: Any, hint: Any) -> Any:
    """`value` as an instance of the type `hint`.

    Text becomes whatever the type asks for: `3`, `1e-4`, `yes`, `a,b`, `helpful=0.7,brief=0.3`, `{helpful: 2}`, `null`.

    Args:
        value (`Any`): text from a command line, or anything that YAML can express.
        hint (`Any`): a resolved type hint: `int`, `float | None`, `list[str]`, an enum, `Literal[...]`, ...

    Raises:
        Mismatch: it does not fit.

    Example:
        >>> convert("1e-4", float), convert("yes", bool), convert("a,b", list[str]), convert("none", int | None)
        (0.0001, True, ['a', 'b'], None)
    """
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _union(value, args, hint)
    if origin is Literal:
        return _choice(value, {str(choice).lower(): choice for choice in args}, hint)
    kind = origin or hint
    if kind is NoneType:
        return _none(value)
    if not isinstance(kind, type):
        raise Mismatch(expected(hint))
    if issubclass(kind, Enum):
        return _choice(value, {str(member.value).lower(): member for member in kind}, hint)
    if kind in (list, tuple):
        return _sequence(value, kind, args, hint)
    if kind is dict:
        return _mapping(value, args, hint)
    converter = _PLAIN.get(kind)
    if converter is None:
        raise Mismatch(expected(hint))
    return converter(value)


def expected(hint: Any) -> str:
    """What a type expects, as it follows "expected" in a message.

    Example:
        >>> expected(int | None), expected(list[float])
        ('an integer or null', 'a list, each a number')
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        members = [a for a in args if a is not NoneType]
        if any(_is_enum(a) for a in members):
            members = [a for a in members if a is not str]
        return " or ".join([*dict.fromkeys(expected(a) for a in members), *(["null"] if NoneType in args else [])])
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in args)
    if _is_enum(hint):
        return "one of " + ", ".join(str(member.value) for member in hint)
    kind = origin or hint
    if kind is list:
        return f"a list, each {expected(args[0])}" if args else "a list"
    if kind is tuple:
        return f"a list of {len(args)}" if args and args[-1] is not Ellipsis else "a list"
    if kind is dict:
        return "values by name, as in helpful=0.7,brief=0.3"
    names: dict[Any, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}
    return names.get(kind, "a value that only Python code can give")


def accepts(hint: Any, kind: type) -> bool:
    """Whether a type, or one member of a union, is `kind`."""
    if get_origin(hint) in (Union, UnionType):
        return any(accepts(member, kind) for member in get_args(hint))
    return (get_origin(hint) or hint) is kind


def is_flag(hint: Any) -> bool:
    """Whether the type is nothing but true or false (or null)."""
    if get_origin(hint) in (Union, UnionType):
        return all(a in (bool, NoneType) for a in get_args(hint))
    return hint is bool


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _union(value: Any, args: tuple[Any, ...], hint: Any) -> Any:
    members = [a for a in args if a is not NoneType]
    if any(_is_enum(a) for a in members):
        members = [a for a in members if a is not str]  # "SchedulerType | str" means a name of one, not any text
    has_text = str in members
    if NoneType in args and (value is None or value == "null" or (value == "none" and not has_text)):
        return None
    for member in sorted(members, key=lambda a: a is str):
        # Where text itself is welcome, only brackets make it a list, and brackets or "=" a mapping.
        signs = {list: ("[",), tuple: ("[",), dict: ("{", "=")}.get(get_origin(member) or member)
        if has_text and signs and isinstance(value, str) and not any(sign in value for sign in signs):
            continue
        try:
            return convert(value, member)
        except Mismatch:
            continue
    raise Mismatch(expected(hint))


def _none(value: Any) -> None:
    if value is not None and value not in ("null", "none"):
        raise Mismatch("null")


def _choice(value: Any, choices: Mapping[str, Any], hint: Any) -> Any:
    if isinstance(value, Enum):
        value = value.value
    found = str(value).lower()
    if found not in choices:
        raise Mismatch(expected(hint))
    return choices[found]


def _bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in WORDS:
        return WORDS[value.lower()]
    if not isinstance(value, bool):
        raise Mismatch(expected(bool))
    return value


def _int(value: Any) -> int:
    number = _float(value, int)
    if not number.is_integer():
        raise Mismatch(expected(int))
    # Through float only to accept 1e3; a plain integer keeps every digit.
    return int(value) if isinstance(value, int) or re.fullmatch(r"[-+]?\d+", str(value)) else int(number)


def _float(value: Any, hint: type = float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
        raise Mismatch(expected(hint))
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise Mismatch(expected(hint)) from error
    if number != number or (hint is int and number in (float("inf"), float("-inf"))):
        raise Mismatch(expected(hint))
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        quoted = " (in quotes)" if isinstance(value, bool | int | float) else ""
        raise Mismatch(expected(str) + quoted)
    return value


def _path(value: Any) -> Path:
    return Path(_text(value))


def _sequence(value: Any, kind: type, args: tuple[Any, ...], hint: Any) -> Any:
    if isinstance(value, str):
        value = parse_flow(value) if value.startswith("[") else [part.strip() for part in value.split(",")]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise Mismatch(expected(hint))
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise Mismatch(expected(hint))
        return tuple(convert(item, own) for item, own in zip(value, args, strict=True))
    own = args[0] if args else Any
    try:
        return kind(convert(item, own) for item in value)
    except Mismatch as error:
        raise Mismatch(f"a list, each {error}") from error


def _mapping(value: Any, args: tuple[Any, ...], hint: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        if value.startswith("{"):
            value = parse_flow(value)
        else:
            pairs = [part.partition("=") for part in value.split(",")]
            names = [name.strip() for name, _, _ in pairs]
            if not all(name and sign and item.strip() for name, (_, sign, item) in zip(names, pairs, strict=True)):
                raise Mismatch(expected(hint))
            if len(set(names)) < len(names):
                raise Mismatch(f"{expected(hint)}, each name once")
            read = parse_flow if len(args) < 2 or args[1] is Any else str
            value = {name: read(item.strip()) for name, (_, _, item) in zip(names, pairs, strict=True)}
    if not isinstance(value, Mapping):
        raise Mismatch(expected(hint))
    own = args[1] if args else Any
    try:
        return {name: convert(item, own) for name, item in value.items()}
    except Mismatch as error:
        raise Mismatch(f"values by name, each {error}") from error


_PLAIN: dict[Any, Callable[[Any], Any]] = {bool: _bool, int: _int, float: _float, str: _text, Path: _path}
