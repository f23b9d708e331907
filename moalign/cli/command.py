"""Read the options of one verb: dataclass fields, from `--field value` on the command line and from flat keys of `--config x.yaml`."""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from frontier.errors import InputError
from moalign.cli.values import WORDS, Mismatch, accepts, convert, expected, is_flag
from moalign.yaml_file import read_flat

T = TypeVar("T")
# More names than this would bury the message.
LISTED = 30


def about(help: str, *, positional: bool = False, repeat: bool = False) -> dict[str, Any]:
    """The metadata of a dataclass field that is an option: `field(default=0, metadata=about("..."))`. A field without a default is required.

    Args:
        help (`str`): one sentence.
        positional (`bool`): given without its name.
        repeat (`bool`): a list whose items are given one by one (`--prompt A --prompt B`) and may contain commas.
    """
    return {"help": help, "positional": positional, "repeat": repeat}


@dataclass(frozen=True)
class Option:
    """One field as the command line knows it."""

    name: str
    hint: Any
    default: Any
    metadata: Mapping[str, Any]
    section: type
    home: type

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def positional(self) -> bool:
        """Whether it is given without its name."""
        return bool(self.metadata.get("positional"))


@dataclass(frozen=True)
class Command:
    """One verb: its name, what it does and the dataclasses whose fields are its options.

    Args:
        name (`str`): as typed after `moalign`: `"train clp"`.
        summary (`str`): what it does, one sentence.
        sections (`tuple[type, ...]`): dataclasses, the verb's own first. Of fields with one name the first is shown and checked.
        details (`str`): more help, shown after the options.
        common (`tuple[str, ...]`): inherited fields that the short help shows nevertheless.
    """

    name: str
    summary: str
    sections: tuple[type, ...]
    details: str = ""
    common: tuple[str, ...] = ()

    def options(self) -> dict[str, Option]:
        """All options by name, in order."""
        found: dict[str, Option] = {}
        for section in self.sections:
            hints = get_type_hints(section)
            for f in dataclasses.fields(section):
                if not f.init or f.name in found:
                    continue
                default = f.default
                if default is dataclasses.MISSING and f.default_factory is not dataclasses.MISSING:
                    default = f.default_factory()
                home = next(c for c in section.__mro__ if f.name in inspect.get_annotations(c))
                found[f.name] = Option(f.name, hints[f.name], default, f.metadata, section, home)
        return found


@dataclass(frozen=True)
class Values:
    """The options that were given, converted to their types."""

    given: dict[str, Any]

    def build(self, section: type[T], **fixed: Any) -> T:
        """An instance of a section from what was given; `fixed` wins.

        Raises:
            InputError: the dataclass refuses the values.
        """
        names = {f.name for f in dataclasses.fields(section) if f.init}  # type: ignore[arg-type]
        arguments = {name: value for name, value in self.given.items() if name in names} | fixed
        try:
            return section(**arguments)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{section.__name__}: {' '.join(str(error).split())}") from error


def parse(command: Command, arguments: Sequence[str]) -> Values | None:
    """Read a verb's arguments; the command line wins over `--config`.

    Args:
        command (`Command`): the verb.
        arguments (`Sequence[str]`): what was typed after its name.

    Returns:
        `Values`, or `None` when help was asked for (and printed).

    Raises:
        InputError: an unknown field, a value of the wrong type, a missing one; names the file, line and field, and the nearest valid name.
    """
    # Help must work whatever else stands on the line, so it is looked for first; values of options are left alone by "=".
    asked = {token.replace("-", "_") for token in arguments}
    if asked & {"__help", "_h", "__help_all"}:
        from moalign.cli.help_text import show_command

        show_command(command, everything="__help_all" in asked)
        return None
    options = command.options()
    config, typed = _typed(command, options, arguments)
    given: dict[str, Any] = {}
    if config is not None:
        for name, entry in read_flat(config).items():
            where = f"{config}:{entry.line}"
            if name not in options:
                raise _unknown(f"{where}: unknown field '{name}'", name, options, command)
            given[name] = _converted(entry.value, options[name], f"{where}: field '{name}'")
    for name, texts in typed.items():
        given[name] = _from_texts(texts, options[name])
    missing = [o for o in options.values() if o.required and o.name not in given]
    if missing:
        # Of several, all that is known about each would be a wall of text.
        told = [o.metadata.get("help", "").rstrip(".") for o in missing]
        told = told if len(missing) == 1 else [re.split(r"[.:;,(]", text)[0].rstrip() for text in told]
        wanted = ", ".join(f"{_typed_name(o)} ({text})" for o, text in zip(missing, told, strict=True))
        raise InputError(f"moalign {command.name} needs {wanted}. See `moalign {command.name} --help`")
    return Values(given)


def _typed(
    command: Command, options: Mapping[str, Option], arguments: Sequence[str]
) -> tuple[str | None, dict[str, list[str]]]:
    """The path after `--config`, and the texts given for each option, in order."""
    config: str | None = None
    typed: dict[str, list[str]] = {}
    places = [o for o in options.values() if o.positional]
    rest = list(arguments)
    only_positional = False
    while rest:
        token = rest.pop(0)
        if token == "--" and not only_positional:
            only_positional = True
            continue
        if only_positional or not token.startswith("-") or token == "-":
            if not places:
                raise InputError(
                    f"unexpected argument '{token}': options are given as --field value, a list as a,b or by repeating the option. "
                    f"See `moalign {command.name} --help`"
                )
            typed.setdefault(places.pop(0).name, []).append(token)
            continue
        flag, equals, value = token.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or (name not in options and name != "config"):
            raise _unknown(f"unknown option '{flag}'", name, options, command, prefix="--")
        hint = str if name == "config" else options[name].hint
        if not equals:
            value = _next_value(flag, hint, rest)
        if name == "config":
            config = value
        else:
            places = [o for o in places if o.name != name]
            typed.setdefault(name, []).append(value)
    return config, typed


def _next_value(flag: str, hint: Any, rest: list[str]) -> str:
    """Take the value that follows a flag; a truth value may be left out."""
    following = rest[0] if rest and not rest[0].startswith("--") else None
    if is_flag(hint):
        return rest.pop(0) if following is not None and following.lower() in WORDS else "true"
    if following is not None:
        return rest.pop(0)
    if accepts(hint, bool):
        return "true"
    raise InputError(f"{flag} needs a value: {expected(hint)}")


def _from_texts(texts: list[str], own: Option) -> Any:
    where = own.name if own.positional else f"--{own.name}"
    if own.metadata.get("repeat"):
        return list(texts)
    values = [_converted(text, own, where) for text in texts]
    if all(isinstance(value, dict) for value in values):
        return {name: item for value in values for name, item in value.items()}
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values[-1]


def _converted(value: Any, own: Option, where: str) -> Any:
    if own.metadata.get("repeat") and isinstance(value, str):
        return [value]
    try:
        converted = convert(value, own.hint)
    except Mismatch as error:
        raise InputError(f"{where}: found {value!r}, expected {error}{_near_choice(value, str(error))}") from error
    choices = own.metadata.get("choices")
    if choices and converted is not None and converted not in choices:
        wanted = "one of " + ", ".join(map(str, choices))
        raise InputError(f"{where}: found {value!r}, expected {wanted}{_near_choice(value, wanted)}")
    return converted


def _near_choice(value: Any, wanted: str) -> str:
    if not wanted.startswith("one of "):
        return ""
    near = difflib.get_close_matches(str(value), wanted.removeprefix("one of ").split(", "), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _typed_name(own: Option) -> str:
    return own.name.upper() if own.positional else f"--{own.name}"


def _unknown(what: str, found: str, options: Mapping[str, Option], command: Command, prefix: str = "") -> InputError:
    names = [*options, "config"] if prefix else list(options)
    near = difflib.get_close_matches(found, names, n=1)
    suggestion = f" did you mean '{prefix}{near[0]}'?" if near else ""
    if len(names) <= LISTED:
        valid = f" Valid: {', '.join(prefix + name for name in names)}"
    else:
        valid = f" `moalign {command.name} --help-all` lists all {len(names)}"
    return InputError(f"{what}:{suggestion}{valid}")
