"""Keep every evaluated soup on disk by its content: a search that was killed goes on, and another search of the same model starts from what is known."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frontier.errors import InputError
from frontier.points import FrontPoint
from frontier.realize.soup.soup import Soup

SCHEMA = "frontier.soup.evaluations"
SCHEMA_VERSION = 1
HEAD = json.dumps({"schema": SCHEMA, "schema_version": SCHEMA_VERSION})


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one soup gave.

    Args:
        point (`FrontPoint`): its mean rewards, maximised, with what is known of them.
        by_prompt (`NDArray`, *optional*): `[N, K]` rewards on every prompt, NaN where one is not known.
    """

    point: FrontPoint
    by_prompt: NDArray[np.float64] | None = None


class Evaluations:
    """Evaluated soups, looked up by their coefficients and by everything else that their rewards depend on.

    The file is JSON lines, one evaluation a line, each on disk before the search goes on. What a killed run left of its last line is skipped and counted in `torn`; that soup is
    evaluated again. Searches of other models, prompts or rewards may share the file: their lines have other keys.

    Args:
        path (path, *optional*): the file, made when it is missing; `None` keeps everything in memory.
        content (`Mapping[str, Any]`, *optional*): JSON values that say what was evaluated on what: digests of base, experts, prompts and rewards, the sampling, ...
        places (`Sequence[str]`, *optional*): where in the model the experts change something (`Experts.places`). With them a soup of several blocks that are alike is the soup of one block.

    Raises:
        InputError: the file holds something else.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        content: Mapping[str, Any] | None = None,
        places: Sequence[str] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.torn = 0
        self._places = None if places is None else tuple(places)
        self._content = json.dumps(dict(content or {}), sort_keys=True, allow_nan=False)
        self._known: dict[str, Evaluation] = {}
        if self.path is not None:
            self._read(self.path)

    def __len__(self) -> int:
        return len(self._known)

    def key(self, soup: Soup) -> str:
        """The digest that a soup is found by."""
        rows: Any = soup.to_json()
        if self._places is not None:
            rows = [soup.experts, {place: soup.at_place(place) for place in self._places}]
        named = json.dumps([self._content, rows], sort_keys=True)
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    def get(self, soup: Soup) -> Evaluation | None:
        """What is known of a soup."""
        return self._known.get(self.key(soup))

    def add(self, soup: Soup, found: Evaluation) -> None:
        """Remember an evaluation; it is on disk before this returns."""
        self._known[self.key(soup)] = found
        if self.path is None:
            return
        record = {"key": self.key(soup), "soup": soup.to_json(), **_to_json(found)}
        # One write of a whole line at the file's end: two searches that share it do not mix their lines.
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        with self.path.open("ab", buffering=0) as file:
            file.write(line)
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        if not path.exists() or path.stat().st_size == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEAD + "\n", encoding="utf-8")
            return
        found = path.read_bytes()
        first, *lines = found.split(b"\n")
        if first.decode(errors="replace") != HEAD:
            raise InputError(f"{path}, line 1: expected {HEAD}: these are no evaluations of soups; name another file")
        for number, line in enumerate(lines, start=2):
            record = _record(line)
            if record is None:
                self.torn += bool(line.strip())
                continue
            try:
                self._known[record["key"]] = _from_json(record)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}, line {number}: not an evaluation of a soup: {error}") from error
        if not found.endswith(b"\n"):
            # The next line must not begin in the middle of the torn one.
            with path.open("ab") as file:
                file.write(b"\n")


def _record(line: bytes) -> dict[str, Any] | None:
    """A line's object; `None` where it was torn."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _to_json(found: Evaluation) -> dict[str, Any]:
    point = found.point
    return {
        "rewards": list(point.rewards),
        "standard_error": [None if math.isnan(s) else s for s in point.standard_error],
        "n_prompts": point.n_prompts,
        "kl": point.kl,
        "source": point.source,
        "extra": point.extra,
        "by_prompt": None if found.by_prompt is None else _nulls(found.by_prompt),
    }


def _from_json(record: Mapping[str, Any]) -> Evaluation:
    errors = [math.nan if s is None else s for s in record["standard_error"]]
    extra = dict(record["extra"])
    point = FrontPoint(
        record["rewards"], tuple(errors), record["n_prompts"], None, record["kl"], record["source"], extra
    )
    rows = record["by_prompt"]
    return Evaluation(point, None if rows is None else np.array(rows, dtype=np.float64))


def _nulls(rows: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in rows.tolist()]
