"""Turn one raw row into a canonical record, or say which field is wrong, what was found there and what is allowed."""

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NoReturn

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives

ROLES = ("system", "developer", "user", "assistant", "tool")
LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5}
LABEL_ALLOWED = "'a', 'b', 'tie', a probability in [0, 1], or null"
SCORE_ALLOWED = "a finite number, or null"
MARGIN_ALLOWED = "a number of at least 0 (by how much the better one leads), an object with one per objective, or null"
TEXT_ALLOWED = "a string, or a list of {'role', 'content'} messages"

# The fields that each format reads; what a row has beyond them is reported as ignored.
FIELDS = {
    "pairs": (
        *("prompt", "completion_a", "completion_b", "labels", "user", "margin", "document"),
        *("chosen", "rejected", "objective"),
    ),
    "ratings": ("prompt", "completion", "scores", "user", "document"),
    "prompts": ("prompt",),
}

Row = Mapping[str, Any]
Record = dict[str, Any]


class BadRow(ValueError):
    """A row that is not a valid record; the message names the field, what was found and what is allowed."""


def pair_record(row: Row, objectives: Sequence[str] | None = None, text_numbers: bool = False) -> Record:
    """A pair in canonical form, each label being the probability that `completion_a` is better (`None` = missing).

    Args:
        row (`Mapping`): a pair, or a TRL preference row (`chosen`, `rejected`, and `prompt` unless both share it as their beginning).
        objectives (`Sequence[str]`, *optional*): the valid objectives; any other is refused.
        text_numbers (`bool`, *optional*, defaults to `False`): numbers may come as text and objects as JSON text, as they must in CSV.

    Raises:
        BadRow: a field is missing or has something that is not allowed.
    """
    first, second = "completion_a", "completion_b"
    if not {first, second} & row.keys() and {"chosen", "rejected"} & row.keys():
        first, second = "chosen", "rejected"
        row = _from_trl(row, objectives)
    prompt = _prompt(row)
    return {
        "prompt": prompt,
        "completion_a": _completion(row, first, prompt),
        "completion_b": _completion(row, second, prompt),
        "labels": (labels := _per_objective(row, "labels", _label, objectives, text_numbers)),
        "user": _name(row, "user"),
        **_optional(row, labels, objectives, text_numbers),
    }


def rating_record(row: Row, objectives: Sequence[str] | None = None, text_numbers: bool = False) -> Record:
    """A rating in canonical form; arguments and errors as for [`pair_record`]."""
    prompt = _prompt(row)
    return {
        "prompt": prompt,
        "completion": _completion(row, "completion", prompt),
        "scores": _per_objective(row, "scores", _score, objectives, text_numbers),
        "user": _name(row, "user"),
        **({"document": document} if (document := _name(row, "document")) is not None else {}),
    }


def prompt_record(row: Row, objectives: Sequence[str] | None = None, text_numbers: bool = False) -> Record:
    """The prompt of any record, pairs and ratings included; arguments and errors as for [`pair_record`]."""
    if row.get("prompt") is None and {"chosen", "rejected"} <= row.keys():
        row = extract_prompt(row)
    return {"prompt": _prompt(row)}


def extract_prompt(row: Row) -> Record:
    """A TRL preference row with its implicit prompt, the longest common beginning of `chosen` and `rejected`, taken out of both.

    The same rule as `trl.extract_prompt`: of two identical completions, or where one continues the other, the shorter keeps its last part.

    Raises:
        BadRow: `chosen` and `rejected` are of different types or share no beginning.
    """
    chosen: Any = row.get("chosen")
    rejected: Any = row.get("rejected")
    for field, value in (("chosen", chosen), ("rejected", rejected)):
        if value is None:
            _missing(row, field)
        if not isinstance(value, str | list):
            _bad(field, value, TEXT_ALLOWED)
    if type(chosen) is not type(rejected):
        _bad("rejected", rejected, "the same style as 'chosen', which is " + _style(chosen))
    shared = 0
    limit = min(len(chosen), len(rejected)) - 1
    while shared < limit and chosen[shared] == rejected[shared]:
        shared += 1
    if 0 <= shared <= limit and chosen[shared] != rejected[shared] and shared and chosen[shared - 1] == " ":
        shared -= 1  # the space before the completion belongs to the completion
    if shared < 1:
        raise BadRow("field 'prompt': missing, and 'chosen' and 'rejected' share no beginning to take as the prompt")
    return {**row, "prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _from_trl(row: Row, objectives: Sequence[str] | None) -> Row:
    objective = row.get("objective")
    if objective is None and objectives is not None and len(objectives) == 1:
        objective = objectives[0]
    if objective is None:
        raise BadRow(
            "field 'objective': missing; a row with 'chosen' and 'rejected' needs the name of the objective by which it was chosen, "
            "or exactly one objective given for the whole source"
        )
    if not isinstance(objective, str):
        _bad("objective", objective, "the name of an objective")
    if objectives is not None and objective not in objectives:
        raise BadRow(f"field 'objective': {unknown_name('objective', objective, objectives)}")
    if row.get("prompt") is None:
        row = extract_prompt(row)
    return {**row, "labels": {objective: "a"}}


def _prompt(row: Row) -> str | list[dict[str, str]]:
    prompt = _text(row, "prompt")
    empty = not prompt.strip() if isinstance(prompt, str) else not any(m["content"].strip() for m in prompt)
    if empty:
        _bad("prompt", prompt, "text that is not blank")
    return prompt


def _completion(row: Row, field: str, prompt: Any) -> str | list[dict[str, str]]:
    # An empty string passes: a model may answer nothing, and that can be labelled.
    completion = _text(row, field)
    if type(completion) is not type(prompt):
        _bad(field, row[field], f"the same style as 'prompt', which is {_style(prompt)}")
    if isinstance(completion, list):
        if not completion:
            _bad(field, completion, "at least one message")
        if completion[0]["role"] not in ("assistant", "tool"):
            _bad(
                f"{field}[0].role",
                completion[0]["role"],
                "'assistant' or 'tool': what comes before belongs to 'prompt'",
            )
    return completion


def _text(row: Row, field: str) -> str | list[dict[str, str]]:
    """A string or a list of messages; each message with exactly `role` and `content`."""
    value = row.get(field)
    if value is None:
        _missing(row, field)
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        _bad(field, value, TEXT_ALLOWED)
    messages = []
    for i, message in enumerate(value):
        where = f"{field}[{i}]"
        if not isinstance(message, Mapping):
            _bad(where, message, "a message {'role': ..., 'content': ...}")
        if message.get("role") not in ROLES:
            _bad(f"{where}.role", message.get("role"), ", ".join(map(repr, ROLES)))
        if not isinstance(message.get("content"), str):
            _bad(f"{where}.content", message.get("content"), "a string")
        # Arrow adds the keys of other rows as nulls; a key with a value would be lost, so it is refused.
        extra = next((key for key in message if key not in ("role", "content") and message[key] is not None), None)
        if extra is not None:
            _bad(f"{where}.{extra}", message[extra], "only 'role' and 'content'")
        messages.append({"role": message["role"], "content": message["content"]})
    return messages


def _per_objective(
    row: Row,
    field: str,
    read: Callable[[str, Any, bool], float | None],
    objectives: Sequence[str] | None,
    text_numbers: bool,
) -> dict[str, float | None]:
    """The object `field`, or the flat columns `field.OBJECTIVE`, each value read by `read`."""
    prefix = field + "."
    flat = {key[len(prefix) :]: row[key] for key in row if isinstance(key, str) and key.startswith(prefix)}
    values = row.get(field)
    if values is None:
        if not flat:
            _missing(row, field)
        values = flat
    elif flat:
        raise BadRow(f"field '{field}': given both as one field and as columns like '{prefix}{next(iter(flat))}'")
    if isinstance(values, str) and text_numbers:
        try:
            values = json.loads(values, object_pairs_hook=unique_keys)
        except ValueError as error:
            raise BadRow(f"field '{field}': found {_shown(values)}, not valid JSON ({error})") from error
    if not isinstance(values, Mapping) or not values:
        _bad(field, values, "an object with one entry per objective, as in {'helpful': ...}; null where it is missing")
    known: dict[str, float | None] = {}
    for name, value in values.items():
        try:
            check_objectives([name])
        except InputError as error:
            raise BadRow(f"field '{field}': {error}") from error
        if objectives is not None and name not in objectives:
            raise BadRow(f"field '{prefix}{name}': {unknown_name('objective', name, objectives)}")
        known[name] = None if value is None else read(prefix + name, value, text_numbers)
    return known


def _label(field: str, value: Any, text_numbers: bool) -> float | None:
    if isinstance(value, str) and value in LABELS:
        return LABELS[value]
    number = _number(value, text_numbers)
    if number is None or not 0 <= number <= 1:
        _bad(field, value, LABEL_ALLOWED)
    return number


def _score(field: str, value: Any, text_numbers: bool) -> float | None:
    number = _number(value, text_numbers)
    if number is None or not math.isfinite(number):
        _bad(field, value, SCORE_ALLOWED)
    return number


def _number(value: Any, text_numbers: bool) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real | str) or (isinstance(value, str) and not text_numbers):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _name(row: Row, field: str) -> str | None:
    name = row.get(field)
    if name is None:
        return None
    if isinstance(name, Integral) and not isinstance(name, bool):
        return str(name)
    if not isinstance(name, str) or not name.strip():
        _bad(field, name, "a non-empty string, a whole number, or null")
    return name


def _optional(
    row: Row, labels: Mapping[str, Any], objectives: Sequence[str] | None, text_numbers: bool
) -> dict[str, Any]:
    """What a pair need not have, without the fields that it has not: which document it is about, and by how much the better one leads."""
    found: dict[str, Any] = {}
    document = _name(row, "document")
    if document is not None:
        found["document"] = document
    if row.get("margin") is not None or any(isinstance(key, str) and key.startswith("margin.") for key in row):
        number = _number(row.get("margin"), text_numbers)
        if number is not None:  # one for all objectives, as TRL has it
            found["margin"] = dict.fromkeys(labels, _margin("margin", row["margin"], text_numbers))
        elif row.get("margin") is not None and not (
            isinstance(row["margin"], Mapping) or (text_numbers and isinstance(row["margin"], str))
        ):
            _bad("margin", row["margin"], MARGIN_ALLOWED)
        else:
            found["margin"] = _per_objective(row, "margin", _margin, objectives, text_numbers)
        for name, value in found["margin"].items():
            if value is not None and name not in labels:
                raise BadRow(f"field 'margin.{name}': {unknown_name('objective', name, tuple(labels))}")
    return found


def _margin(field: str, value: Any, text_numbers: bool) -> float | None:
    number = _number(value, text_numbers)
    if number is None or not math.isfinite(number) or number < 0:
        _bad(field, value, MARGIN_ALLOWED)
    return number


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads(object_pairs_hook=...)`: refuse a key that comes twice, where `json` would keep the last.

    Raises:
        ValueError: a key comes twice.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"key {twice!r} is given twice in one object")
    return result


def _style(value: Any) -> str:
    return "a string" if isinstance(value, str) else "a list of messages"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _bad(field: str, found: Any, allowed: str) -> NoReturn:
    raise BadRow(f"field '{field}': found {_shown(found)}, allowed: {allowed}")


def _missing(row: Row, field: str) -> NoReturn:
    if field in row:
        raise BadRow(f"field '{field}': missing (null or an empty cell)")
    names = [key for key in row if isinstance(key, str)]
    near = difflib.get_close_matches(field, [key.split(".")[0] for key in names], n=1)
    hint = f"did you mean '{near[0]}'? " if near and near[0] not in sum(FIELDS.values(), ()) else ""
    raise BadRow(f"field '{field}': missing; {hint}Found fields: {', '.join(names)}")
