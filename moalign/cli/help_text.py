"""The help pages: a verb's own options first, those that it inherits from the trainers on request."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from moalign.cli.command import Command, Option
from moalign.cli.console import say
from moalign.cli.values import is_flag

OURS = ("moalign", "reward_heads", "frontier")
COLUMN = 30


def show_overview(verbs: Mapping[str, tuple[str, str]]) -> str:
    """The page of `moalign --help`.

    Args:
        verbs (`Mapping`): verb to its usage and summary.
    """
    lines = ["usage: moalign VERB [--config x.yaml] [--field value ...]", ""]
    lines += ["Train one language model for every trade-off, see its front, pick a point, serve it.", ""]
    for verb, (usage, summary) in verbs.items():
        lines += _entry(f"{verb} {usage}".strip(), summary)
    lines += ["", "`moalign VERB --help` shows a verb's options, `moalign --version` the version. Everywhere:"]
    lines += _universal()
    return "\n".join(lines)


def show_command(command: Command, everything: bool = False) -> None:
    """Print a verb's page; with `everything`, the inherited options too."""
    options = list(command.options().values())
    positional = [o for o in options if o.positional]
    named = [o for o in options if not o.positional]
    required = [f"--{o.name} {kind(o.hint)}" for o in named if o.required]
    usage = " ".join([command.name, *(o.name.upper() for o in positional), *required])
    say(f"usage: moalign {usage} [--config x.yaml] [--field value ...]\n")
    say(_filled(command.summary))
    if positional:
        say()
        _show(positional)
    own = [o for o in named if o.home.__module__.split(".")[0] in OURS]
    inherited = [o for o in named if o not in own]
    for section in command.sections:
        group = [o for o in own if o.section is section]
        if group:
            say(f"\noptions ({section.__name__}):")
            _show(group)
    if everything:
        for home in dict.fromkeys(o.home for o in inherited):
            say(f"\ninherited ({home.__module__.split('.')[0]} {home.__name__}):")
            _show([o for o in inherited if o.home is home])
    elif inherited:
        common = [o for o in inherited if o.name in command.common]
        if common:
            say("\ninherited, most used:")
            _show(common)
        homes = " and ".join(dict.fromkeys(f"{o.home.__module__.split('.')[0]}.{o.home.__name__}" for o in inherited))
        say("\n" + _filled(f"{len(inherited) - len(common)} more come from {homes}: --help-all lists them."))
    say("\neverywhere:")
    say("\n".join(_universal()))
    if command.details:
        say("\n" + "\n".join(_filled(part) for part in command.details.strip().splitlines()))


def kind(hint: Any) -> str:
    """A type in a word, for help: `INT`, `TEXT`, `lora|merged`, `A,B`, `NAME=VALUE,...`."""
    args = [a for a in get_args(hint) if a is not NoneType]
    origin = get_origin(hint)
    if origin is Literal:
        return "|".join(str(a) for a in args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [str(member.value) for member in hint]
        return "|".join(values) if len(values) <= 5 else "NAME"
    if origin is not None and origin not in (list, tuple, dict):
        enums = [a for a in args if isinstance(a, type) and issubclass(a, Enum)]
        return "|".join(dict.fromkeys(kind(a) for a in enums or args))
    names = {bool: "BOOL", int: "INT", float: "NUMBER", str: "TEXT", list: "A,B", tuple: "A,B", dict: "NAME=VALUE,..."}
    return names.get(origin or hint, "VALUE")


def _show(options: Iterable[Option]) -> None:
    for o in options:
        text = str(o.metadata.get("help", "")).strip()
        if o.metadata.get("choices"):
            text += f" One of {', '.join(map(str, o.metadata['choices']))}."
        if o.required:
            note = "" if o.positional else " (required)"
        else:
            note = f" (default: {_default(o.default)})" if o.default is not None else ""
        name = (
            o.name.upper()
            if o.positional
            else f"--{o.name}" + ("" if is_flag(o.hint) and not o.default else f" {kind(o.hint)}")
        )
        say("\n".join(_entry(name, text + note)))


def _default(value: Any) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "''" if value == "" else str(value)


def _universal() -> list[str]:
    lines = _entry("--config FILE", "flat YAML with the same names as the options; the command line wins")
    lines += _entry("--verbose", "show the notes and warnings of the libraries underneath")
    return lines + _entry("--help, --help-all", "this page; all options, inherited ones included")


def _entry(name: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(" ".join(text.split()), max(30, _width() - COLUMN - 2)) or [""]
    head = f"  {name}"
    if len(head) >= COLUMN:
        return [head, *(" " * COLUMN + line for line in wrapped)]
    return [head.ljust(COLUMN) + wrapped[0], *(" " * COLUMN + line for line in wrapped[1:])]


def _filled(text: str) -> str:
    return textwrap.fill(text, _width(), subsequent_indent="") if not text.startswith(" ") else text


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)
