"""Read and extend the file that says which keys exist and what each may do."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontier.atomic import replace_file
from frontier.errors import InputError, unknown_name
from moalign.serving.access.caller import Caller, Range
from moalign.serving.access.keys import ALGORITHM, hash_key, make_key, make_salt
from moalign.yaml_file import read_flat

HASH = re.compile(rf"{ALGORITHM}:[0-9a-f]{{64}}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
COUNTS = ("requests_per_minute", "concurrency", "max_tokens", "tokens_per_minute", "tokens_per_day")
# Beyond it, floats leave out whole numbers.
MOST = 10**15
FIELDS = ("name", "hash", "preference", "paths", *COUNTS)
HEAD = """\
# Who may use the server: `moalign serve BUNDLE --policy THIS_FILE`. Keys are added by `moalign serve keys add`; only their hashes stand here.
# To withdraw a key, delete its entry. A running server reads the file again when it changes. A limit that is missing does not limit.
salt: "{salt}"
keys:
"""


@dataclass(frozen=True)
class AccessPolicy:
    """The content of a policy file.

    Args:
        salt (`str`): of the hashes.
        callers (`Mapping[str, Caller]`): hash of a key to its holder.
    """

    salt: str
    callers: Mapping[str, Caller]

    def check_objectives(self, objectives: Iterable[str]) -> None:
        """Refuse a range for an objective that the served policy does not have: it would never hold or never bind.

        Raises:
            InputError: names it and the valid ones.
        """
        valid = list(objectives)
        for caller in self.callers.values():
            for name in caller.preference:
                if name not in valid:
                    raise InputError(f"policy: key '{caller.name}': {unknown_name('objective', name, valid)}")


def read_policy(path: str | Path) -> AccessPolicy:
    """Read a policy file (YAML or JSON).

    Raises:
        InputError: it can't be read, or something in it is unknown, missing or of the wrong kind; the message names the key.
    """
    found = {name: entry.value for name, entry in read_flat(path).items()}
    try:
        return _policy(found)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def add_key(path: str | Path, name: str, limits: Mapping[str, Any] | None = None) -> str:
    """Add a fresh key to a policy file, which is made where it is missing. What stands in the file, comments too, is kept.

    Args:
        path (`str` or `Path`): the file.
        name (`str`): of the key's holder, for logs; not yet in the file.
        limits (`Mapping`, *optional*): what the key may do, by the names of the file's fields.

    Returns:
        `str`: the key. It can't be had again.

    Raises:
        InputError: the file is not one of ours, the name is taken, a limit is wrong, or the file's layout leaves no place for an entry.
    """
    path = Path(path)
    before = path.read_text(encoding="utf-8") if path.exists() else HEAD.format(salt=make_salt())
    old = read_policy(path) if path.exists() else None
    salt = old.salt if old else str(re.findall(r'salt: "([0-9a-f]+)"', before)[0])
    if old and any(caller.name == name for caller in old.callers.values()):
        raise InputError(f"{path}: there is a key '{name}' already; delete its entry first or choose another name")
    key = make_key()
    entry = {"name": name, "hash": hash_key(key, salt), **(limits or {})}
    digest, caller = _caller(entry)
    text = _with_entry(path, before, entry)
    with replace_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
        wanted = {**(old.callers if old else {}), digest: caller}
        if not _reads_as(beside, salt, wanted):
            shown = json.dumps(entry)
            raise InputError(
                f"{path}: its `keys:` are not a block at the end of the file; add this entry yourself: {shown}\nThe key: {key}"
            )
    return key


def _with_entry(path: Path, text: str, entry: Mapping[str, Any]) -> str:
    if path.suffix == ".json":
        content = json.loads(text) if path.exists() else {"salt": re.findall(r'salt: "(.*)"', text)[0], "keys": []}
        content["keys"] = [*(content.get("keys") or []), entry]
        return json.dumps(content, indent=2) + "\n"
    lines = [f"{name}: {json.dumps(value)}" for name, value in entry.items()]
    # Items of a list in YAML stand where the first one does.
    items = re.findall(r"^( *)- ", text.partition("\nkeys:")[2], re.MULTILINE)
    indent = items[0] if items else "  "
    block = f"{indent}- {lines[0]}\n" + "".join(f"{indent}  {line}\n" for line in lines[1:])
    return text.rstrip("\n") + "\n" + block


def _reads_as(path: Path, salt: str, callers: Mapping[str, Caller]) -> bool:
    try:
        policy = read_policy(path)
    except InputError:
        return False
    return policy == AccessPolicy(salt, callers)


def _policy(found: Mapping[str, Any]) -> AccessPolicy:
    for name in found:
        if name not in ("salt", "keys"):
            raise unknown_name("field", name, ("salt", "keys"))
    salt = found.get("salt")
    if not (isinstance(salt, str) and re.fullmatch(r"([0-9a-f]{2}){8,64}", salt)):
        raise InputError(
            "salt must be at least 16 hexadecimal digits, in quotes; `moalign serve keys add` makes a file with one"
        )
    entries = found.get("keys") or []
    if not isinstance(entries, list):
        raise InputError(f"keys must be a list, found {entries!r}")
    callers: dict[str, Caller] = {}
    for number, entry in enumerate(entries, 1):
        named = f"'{entry['name']}'" if isinstance(entry, dict) and "name" in entry else f"number {number}"
        try:
            digest, caller = _caller(entry)
        except InputError as error:
            raise InputError(f"key {named}: {error}") from error
        if digest in callers or any(caller.name == other.name for other in callers.values()):
            raise InputError(f"key {named}: its name or its hash stands in the file twice")
        callers[digest] = caller
    return AccessPolicy(salt, callers)


def _caller(entry: Any) -> tuple[str, Caller]:
    if not isinstance(entry, dict):
        raise InputError(f"must be a mapping with name and hash, found {entry!r}")
    for field in entry:
        if field not in FIELDS:
            raise unknown_name("field", str(field), FIELDS)
    name, digest = entry.get("name"), entry.get("hash")
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise InputError(f"name must be up to 64 letters, digits and . _ @ -, found {name!r}")
    if not (isinstance(digest, str) and HASH.fullmatch(digest)):
        # The value is not shown: somebody may have put the key itself there.
        raise InputError(f"hash must be '{ALGORITHM}:' and 64 hexadecimal digits; `moalign serve keys add` makes it")
    for field in COUNTS:
        count = entry.get(field)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST):
            raise InputError(f"{field} must be a whole number of at least 1 and at most {MOST}, found {count!r}")
    counts = {field: entry.get(field) for field in COUNTS}
    return digest, Caller(name, _ranges(entry.get("preference")), _paths(entry.get("paths")), **counts)


def _ranges(found: Any) -> dict[str, Range]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"preference must be like {{safety: {{min: 0.2}}}}, found {found!r}")
    ranges = {}
    bounds = [field.name for field in dataclasses.fields(Range)]
    for objective, given in found.items():
        if not isinstance(given, dict):
            raise InputError(f"preference: {objective} must be like {{min: 0.2, max: 0.8}}, found {given!r}")
        for bound in given:
            if bound not in bounds:
                raise unknown_name("bound", str(bound), bounds)
        try:
            ranges[str(objective)] = Range(**given)
        except InputError as error:
            raise InputError(f"preference: {objective}: {error}") from error
    return ranges


def _paths(found: Any) -> tuple[str, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(path, str) and path.startswith("/") for path in found):
        raise InputError(f"paths must be a list such as [/v1/completions, /v1/models], found {found!r}")
    return tuple(path.rstrip("/") for path in found)
