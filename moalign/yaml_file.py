"""Read a flat YAML file so that every complaint can name its line.

YAML as people write it in configurations: `1e-4` is a number, and `no` is a word (a field of truth values still takes it as false), unlike in YAML 1.1.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from frontier.errors import InputError


class Entry(NamedTuple):
    """A value and the line of its key, counting from 1."""

    value: Any
    line: int


_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)",
        list("-+.0123456789"),
    ),
)


def _loader(text: str) -> Any:
    """A YAML loader over `text`; yaml itself is imported late, for the sake of a fast `--help`."""
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader with the scalars of YAML 1.2."""

        yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own attribute

    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(tag, re.compile(f"(?:{pattern})\\Z"), first)
    return Loader(text)


def read_flat(path: str | Path) -> dict[str, Entry]:
    """The keys of a YAML (or JSON) file with their values and lines; dashes in keys count as underscores.

    Raises:
        InputError: no such file, not YAML, not a mapping, a key that is not text or comes twice.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}") from error
    entries: dict[str, Entry] = {}
    try:
        loader = _loader(text)
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}:{root.start_mark.line + 1}: expected lines of the form 'field: value'")
        for key_node, value_node in root.value:
            line = key_node.start_mark.line + 1
            key = loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise InputError(f"{path}:{line}: expected the name of a field, found {key!r}")
            name = key.replace("-", "_")
            if name in entries:
                raise InputError(f"{path}:{line}: field '{key}' stands in line {entries[name].line} already")
            entries[name] = Entry(loader.construct_object(value_node, deep=True), line)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise InputError(f"{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    return entries


def parse_flow(text: str) -> Any:
    """One YAML value, such as `[1, 2]` or `{helpful: 2}`; text that is no YAML comes back as it is."""
    import yaml

    try:
        return _loader(text).get_single_data()
    except yaml.YAMLError:
        return text
