"""Run an explorer to its end: evaluate what it asks, keep every result on disk, and hand back the front."""

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from frontier.choose.explore.base import Array, Explorer, key
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from frontier.objectives import check_objectives

SCHEMA = "frontier.exploration"
Evaluated = Sequence[FrontPoint] | tuple[Any, Any] | Any


def explore(
    evaluate: Callable[[Array], Evaluated],
    explorer: Explorer,
    *,
    objectives: Sequence[str],
    budget: int,
    batch: int = 1,
    n_prompts: int = 1,
    kept: str | os.PathLike[str] | None = None,
    progress: str | None = "Exploring",
) -> ParetoFront:
    """Evaluate what the explorer asks until it is done or the budget is spent.

    Args:
        evaluate: gets `[n, M]` weights; returns `[n, K]` rewards, a pair of rewards and `[n, K]` standard errors, or one `FrontPoint` a row. Every objective is maximised. A point with a
            standard error that is NaN (not known) is told without any, and so counts as exact.
        explorer (`Explorer`): fresh, or with results that it was told before.
        objectives (`Sequence[str]`): the K names.
        budget (`int`): the most evaluations, those that were told before among them.
        batch (`int`, *optional*, defaults to 1): how many weights to ask at once.
        n_prompts (`int`, *optional*, defaults to 1): that the rewards are means over; a `FrontPoint` says it itself.
        kept (path, *optional*): a JSON-lines file of results, one batch a line. A run that was killed goes on from there, without evaluating anything twice, and asks what it would have asked.
        progress (`str`, *optional*, defaults to `"Exploring"`): the bar's name; `None` hides it.

    Returns:
        `ParetoFront`: one point for every weight vector that was measured. `info["exploration"]` says what the explorer's bound is at the end.

    Raises:
        InputError: the results don't fit what was asked, or the file holds anything else than results of this exploration; the message names the line.
    """
    names = check_objectives(objectives)
    if len(names) != explorer.n_objectives:
        raise InputError(f"the explorer has {explorer.n_objectives} objectives, found {len(names)}: {', '.join(names)}")
    if budget < 1 or batch < 1:
        raise InputError(f"budget and batch must be at least 1, found {budget} and {batch}")
    points = {key(w): p for w, p in _earlier(explorer, n_prompts)}
    file = None if kept is None else _Kept(Path(kept), explorer)
    told = Counter((key(w), tuple(r.tolist())) for w, r, _ in explorer._told)
    for weights, made in file.batches if file else []:
        points |= {key(w): p for w, p in zip(weights, made, strict=True)}
        found = Counter((key(w), p.rewards) for w, p in zip(weights, made, strict=True))
        if found <= told:
            told -= (
                found  # an explorer that was read back from its state knows these; a later equal measurement is another
            )
            continue
        _tell(explorer, weights, made, unasked=True)
    with tqdm(total=budget, initial=len(explorer._told), desc=progress, disable=progress is None, unit="eval") as bar:
        while len(explorer._told) < budget and not explorer.done:
            size = min(batch, budget - len(explorer._told))
            asked = explorer.pending[:size]  # of a run that was cut off before it told
            if len(asked) == 0:
                asked = explorer.ask(size)
            made = _points(evaluate(asked), len(asked), explorer.n_objectives, n_prompts)
            _tell(explorer, asked, made, unasked=False)
            if file is not None:
                file.add(asked, made)
            points |= {key(w): p for w, p in zip(asked, made, strict=True)}
            bar.update(len(asked))
            bar.set_postfix_str(f"left to gain {explorer.bound().value:.3g}")
    return _front(explorer, names, points)


class _Kept:
    """The file of results: what it holds already, and where new ones go."""

    def __init__(self, path: Path, explorer: Explorer) -> None:
        self.path = path
        self.batches: list[tuple[Array, list[FrontPoint]]] = []
        head = {"schema": SCHEMA, "kind": explorer.kind, "settings": explorer._settings()}
        first = (json.dumps(head) + "\n").encode()
        found = path.read_bytes() if path.exists() else b""
        whole = found.split(b"\n")[:-1]  # a torn last line has no end
        if not whole:
            if not first.startswith(found):
                raise InputError(
                    f"{path}: holds something else than results of this exploration; give another file for them"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(first)
            return
        if self._read(whole[0], 1) != head:
            raise InputError(f"{path}, line 1: the results are of another exploration; give another file for this one")
        for i, line in enumerate(whole[1:], start=2):
            record = self._read(line, i)
            try:
                made = [_point(values) for values in record["points"]]
                weights = _table(record["weights"], explorer.n_weights)
                if len(weights) != len(made):
                    raise InputError(f"{len(weights)} weights and {len(made)} points")
                _check_lengths(made, explorer.n_objectives)
                self.batches.append((weights, made))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}, line {i}: not a result of an exploration: {error}") from error
        # What a killed run left of its last line must not stand before the next one.
        os.truncate(path, sum(len(line) + 1 for line in whole))

    def add(self, weights: Array, made: list[FrontPoint]) -> None:
        """Append one batch, on disk before this returns."""
        record = {"weights": weights.tolist(), "points": [_values(p) for p in made]}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{self.path}, line {number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{self.path}, line {number}: must be an object, found {record!r}")
        return record


def _points(results: Evaluated, n: int, count: int, n_prompts: int) -> list[FrontPoint]:
    """What `evaluate` returned, as one point for each row that was asked."""
    if isinstance(results, Sequence) and len(results) > 0 and all(isinstance(r, FrontPoint) for r in results):
        made = list(results)
    else:
        rewards, errors = results if isinstance(results, tuple) else (results, None)
        values = _table(rewards, count)
        spread = [[math.nan] * count] * len(values) if errors is None else _table(errors, count).tolist()
        if len(spread) != len(values):
            raise InputError(
                f"evaluate must return as many standard errors as rewards, found {len(spread)} and {len(values)}"
            )
        made = [FrontPoint(tuple(r), tuple(s), n_prompts) for r, s in zip(values.tolist(), spread, strict=True)]
    if len(made) != n:
        raise InputError(f"evaluate must return one result for each of the {n} weights, found {len(made)}")
    _check_lengths(made, count)
    return made


def _check_lengths(made: list[FrontPoint], count: int) -> None:
    for i, point in enumerate(made):
        if len(point.rewards) != count:
            raise InputError(
                f"result {i} must have one reward for each of the {count} objectives, found {len(point.rewards)}"
            )


def _tell(explorer: Explorer, weights: Array, made: list[FrontPoint], *, unasked: bool) -> None:
    """Tell row by row, for some may have standard errors and others none."""
    for row, point in zip(weights, made, strict=True):
        known = not any(map(math.isnan, point.standard_error))
        explorer.tell([row], [point.rewards], [point.standard_error] if known else None, unasked=unasked)


def _earlier(explorer: Explorer, n_prompts: int) -> list[tuple[Array, FrontPoint]]:
    """Points for what the explorer was told before this run."""
    unknown = (math.nan,) * explorer.n_objectives
    return [
        (w, FrontPoint(tuple(r.tolist()), unknown if e is None else tuple(e.tolist()), n_prompts))
        for w, r, e in explorer._told
    ]


def _front(explorer: Explorer, names: tuple[str, ...], points: dict[Any, FrontPoint]) -> ParetoFront:
    known = explorer.measured
    unsure = {key(w) for w, _, errors in explorer._told if errors is None}
    made = []
    for weights, rewards, errors, times in zip(known.weights, known.rewards, known.errors, known.times, strict=True):
        values = _values(points[key(weights)])
        if times > 1:
            spread = [None] * len(names) if key(weights) in unsure else errors.tolist()
            values |= {"rewards": rewards.tolist(), "standard_error": spread}
        if values["preference"] is None and explorer.n_weights == len(names):
            values["preference"] = {"weights": dict(zip(names, weights.tolist(), strict=True))}
        elif explorer.n_weights != len(names):
            values["extra"] = values["extra"] | {"coefficients": weights.tolist()}
        made.append(_point(values))
    bound = explorer.bound()
    info = {
        "kind": explorer.kind,
        "evaluations": len(explorer._told),
        "left_to_gain": bound.value if math.isfinite(bound.value) else None,
        "unit": bound.unit,
        "what": bound.what,
        "done": explorer.done,
    }
    return ParetoFront(names, tuple(made), info={"exploration": info})


def _values(point: FrontPoint) -> dict[str, Any]:
    """A point as JSON values; an unknown standard error is null."""
    errors = [None if math.isnan(s) else s for s in point.standard_error]
    return {
        "rewards": list(point.rewards),
        "standard_error": errors,
        "n_prompts": point.n_prompts,
        "preference": point.preference,
        "kl": point.kl,
        "source": point.source,
        "extra": point.extra,
    }


def _point(values: dict[str, Any]) -> FrontPoint:
    errors = [math.nan if s is None else s for s in values["standard_error"]]
    return FrontPoint(**(values | {"standard_error": errors}))


def _table(values: Any, columns: int) -> Array:
    from frontier.measure.dominance import as_points

    return as_points(values, "results", columns)
