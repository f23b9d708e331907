"""Read labelled rows in the two record formats, pairs and ratings, with any label missing in any row."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontier.errors import InputError, unknown_name
from reward_heads.text import Text


@dataclass(frozen=True)
class Example:
    """One labelled row.

    Args:
        prompt (`Text`): standard or conversational.
        completion (`Text`): the rated completion, or completion a of a pair.
        other (`Text`, *optional*): completion b of a pair; `None` for a rating.
        targets (`tuple[float, ...]`): per objective the probability that a is better than b (0.5 = tie), or the rating (of a sign-aware objective, see
            `reward_heads.cost`, the probability that the completion is safe); NaN = missing.
        margins (`tuple[float, ...]`, *optional*): of a pair: per objective by how many nats the better one should lead, 0 = any lead will do; `None` = no margins.
    """

    prompt: Text
    completion: Text
    other: Text | None
    targets: tuple[float, ...]
    margins: tuple[float, ...] | None = None

    @property
    def is_pair(self) -> bool:
        """Whether the targets compare two completions (rather than rate one)."""
        return self.other is not None


def read_examples(
    rows: Iterable[Mapping[str, Any]],
    objectives: Sequence[str],
    *,
    what: str = "dataset",
    ignore_others: bool = False,
    rating_range: Mapping[str, tuple[float, float]] | None = None,
) -> list[Example]:
    """Rows of pairs and ratings, mixed in any order, as examples.

    A pair has `prompt`, `completion_a`, `completion_b` and `labels` (objective to the probability in [0, 1] that a is better); a rating has
    `prompt`, `completion` and `scores` (objective to number). A label that is absent, `None` or NaN is missing. Where both kinds of columns
    exist (two datasets concatenated), those that are `None` don't count; a `kind` column ("pair" or "rating") decides if there is one.
    A pair may have a `margin` (objective to a number >= 0, or one number for all): how clearly the better one won; `None` and NaN are no margin.

    Args:
        rows (`Iterable[Mapping]`): dictionaries, or a `datasets.Dataset`.
        objectives (`Sequence[str]`): the names that may be labelled; the order of `targets`.
        what (`str`, *optional*): how messages call the rows, such as the name of a file.
        ignore_others (`bool`, *optional*, defaults to `False`): leave out labels of other objectives instead of refusing them.
        rating_range (`Mapping`, *optional*): objective to the lowest and highest rating that is allowed.

    Raises:
        InputError: names the row (from 0), the field, what was found and what is allowed.
    """
    check_rows(rows, what)
    examples = []
    for number, row in enumerate(rows):
        where = f"{what}, row {number}"
        field = "labels" if row_kind(row, where) == "pair" else "scores"
        texts = ("prompt", "completion_a", "completion_b") if field == "labels" else ("prompt", "completion")
        for name in texts:
            if not isinstance(row.get(name), str | list):
                raise InputError(
                    f"{where}, field '{name}': must be a text or a list of messages, found {row.get(name)!r}"
                )
        targets = _targets(row.get(field), objectives, f"{where}, field '{field}'", field == "labels", ignore_others)
        other = row["completion_b"] if field == "labels" else None
        if other is None and rating_range:
            _check_range(targets, objectives, rating_range, f"{where}, field 'scores'")
        margins = _margins(row.get("margin"), objectives, f"{where}, field 'margin'", other is not None, ignore_others)
        examples.append(Example(row["prompt"], row[texts[1]], other, targets, margins))
    return examples


def check_rows(rows: Any, what: str) -> None:
    """Refuse a mapping of splits (`datasets.DatasetDict`) where rows are needed: as rows, it would be the names of its splits.

    Raises:
        InputError: it is one; names a split.
    """
    if isinstance(rows, Mapping):
        split = "train" if "train" in rows or not rows else next(iter(rows))
        raise InputError(f"{what} is a mapping of splits, not rows: pass {what}['{split}']")


def labelled_objectives(rows: Iterable[Mapping[str, Any]], *, what: str = "dataset") -> tuple[str, ...]:
    """The names with at least one label, in the order in which they first appear (labelled or not).

    Raises:
        InputError: `rows` is a mapping of splits, or a row is no dictionary.
    """
    check_rows(rows, what)
    labelled: dict[str, bool] = {}
    for number, row in enumerate(rows):
        _check_row(row, f"{what}, row {number}")
        for field in ("labels", "scores"):
            labels = row.get(field)
            if isinstance(labels, Mapping):
                for name, value in labels.items():
                    labelled[name] = labelled.get(name, False) or not _is_missing(value)
    return tuple(name for name, found in labelled.items() if found)


def check_every_objective_is_labelled(
    examples: Collection[Example], objectives: Sequence[str], what: str = "dataset"
) -> None:
    """Refuse a dataset from which a head could learn nothing.

    Raises:
        InputError: the dataset is empty, or an objective has no label in any row; names it.
    """
    if not examples:
        raise InputError(f"{what} has no rows")
    for index, name in enumerate(objectives):
        if all(math.isnan(example.targets[index]) for example in examples):
            raise InputError(
                f"{what}: objective '{name}' has no label in any of the {len(examples)} rows, so its head can't be trained: "
                "label some rows, or leave the objective out"
            )


def _check_row(row: Any, where: str) -> None:
    if not isinstance(row, Mapping):
        raise InputError(f"{where}: must be a dictionary, found {row!r}")


def row_kind(row: Mapping[str, Any], where: str) -> str:
    """Whether a row is a `"pair"` or a `"rating"`.

    Args:
        row (`Mapping`): see [`read_examples`].
        where (`str`): how messages call it.

    Raises:
        InputError: it is neither.
    """
    _check_row(row, where)
    kind = row.get("kind")
    if kind is not None:
        if kind not in ("pair", "rating"):
            raise InputError(f"{where}, field 'kind': must be 'pair' or 'rating', found {kind!r}")
        return kind
    if row.get("completion_a") is not None or row.get("completion_b") is not None:
        return "pair"
    if row.get("completion") is not None:
        return "rating"
    raise InputError(
        f"{where}: a pair needs prompt, completion_a, completion_b and labels, a rating needs prompt, completion and scores; "
        f"found {', '.join(row) or 'nothing'}"
    )


def _targets(
    labels: Any, objectives: Sequence[str], where: str, is_pair: bool, ignore_others: bool
) -> tuple[float, ...]:
    if not isinstance(labels, Mapping):
        raise InputError(f"{where}: must be a dictionary of objective to number, found {labels!r}")
    for name in labels:
        # A datasets.Dataset gives every row the keys of all: None there is no label at all.
        if name not in objectives and not ignore_others and not _is_missing(labels[name]):
            raise InputError(f"{where}: {unknown_name('objective', name, objectives)}")
    return tuple(_target(labels.get(name), f"{where}, objective '{name}'", is_pair) for name in objectives)


def _check_range(
    targets: Sequence[float], objectives: Sequence[str], allowed: Mapping[str, tuple[float, float]], where: str
) -> None:
    for name, value in zip(objectives, targets, strict=True):
        low, high = allowed.get(name, (-math.inf, math.inf))
        if not math.isnan(value) and not low <= value <= high:
            raise InputError(
                f"{where}, objective '{name}': a rating must be between {low:g} and {high:g} (rating_range), found {value:g}"
            )


def _margins(
    margins: Any, objectives: Sequence[str], where: str, is_pair: bool, ignore_others: bool
) -> tuple[float, ...] | None:
    if _is_missing(margins) or (isinstance(margins, Mapping) and all(map(_is_missing, margins.values()))):
        return None
    if not is_pair:
        raise InputError(f"{where}: only a pair has a margin, and this row is a rating")
    if not isinstance(margins, Mapping):
        return (_margin(margins, where),) * len(objectives)
    for name in margins:
        if name not in objectives and not ignore_others and not _is_missing(margins[name]):
            raise InputError(f"{where}: {unknown_name('objective', name, objectives)}")
    return tuple(_margin(margins.get(name), f"{where}, objective '{name}'") for name in objectives)


def _margin(value: Any, where: str) -> float:
    if _is_missing(value):
        return 0.0
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise InputError(
            f"{where}: a margin says by how much the better one should lead, a number of at least 0, found {value!r}"
        )
    return number


def _is_missing(value: Any) -> bool:
    """`None`, or NaN as pandas has it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _target(value: Any, where: str, is_pair: bool) -> float:
    allowed = "the probability in [0, 1] that completion_a is better, or null" if is_pair else "a finite number or null"
    if value is None:
        return math.nan
    try:
        number = float(value) if not isinstance(value, str) else None
    except (TypeError, ValueError):
        number = None
    if number is None or math.isinf(number) or (is_pair and not math.isnan(number) and not 0 <= number <= 1):
        raise InputError(f"{where}: must be {allowed}, found {value!r}")
    return number
