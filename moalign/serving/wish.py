"""Read a wish over the measured front: an aspiration, or the best of something while something else stays good enough."""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from frontier.errors import InputError, unknown_name

# A preference with one of these is a wish over the front; others name weights.
WISHES = ("aspiration", "maximize", "subject_to")
BOUNDS = (">=", "<=")


def is_wish(value: Any, objectives: Sequence[str]) -> bool:
    """Whether a request's preference is an aspiration or a constraint, and not weights (of an objective that happens to be called so)."""
    return isinstance(value, Mapping) and any(
        name in value and not (name in objectives and _is_number(value[name])) for name in WISHES
    )


def as_object(value: Any) -> Any:
    """A preference that was sent as JSON text, read; anything else, broken JSON too, as it is.

    Raises:
        InputError: the text is nested deeper than any preference.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value  # the preference's own reader says what is wrong
        except RecursionError:
            raise InputError("the JSON text is nested too deeply for a preference") from None
    return value


def arguments(wish: Mapping[str, Any], objectives: Sequence[str]) -> dict[str, Any]:
    """The wish as arguments of `frontier.choose.pick`.

    Args:
        wish (`Mapping`): `{"aspiration": {...}}` or `{"maximize": ..., "subject_to": {objective: {">=": x, "<=": y}}}`.
        objectives (`Sequence[str]`): of the front.

    Raises:
        InputError: a field or an objective is unknown, or a level is no finite number.
    """
    for name in wish:
        if name not in WISHES:
            raise unknown_name("field of a wish over the front", str(name), WISHES)
    if "aspiration" in wish:
        if len(wish) > 1:
            raise InputError("aspiration stands alone, leave out maximize and subject_to")
        return {"aspire": _numbers("aspiration", wish["aspiration"], objectives)}
    goal = wish.get("maximize")
    if isinstance(goal, Mapping):
        goal = _numbers("maximize", goal, objectives)
    elif goal is not None and not isinstance(goal, str):
        raise InputError(f"maximize must name an objective, found {goal!r}. Valid: {', '.join(objectives)}")
    minimum, maximum = _bounds(wish.get("subject_to"), objectives)
    if goal is None and not minimum and not maximum:
        raise InputError(f'say what to maximize, or a bound: "subject_to": {{"{objectives[0]}": {{">=": 0.5}}}}')
    return {"maximize": goal, "minimum": minimum or None, "maximum": maximum or None}


def _bounds(found: Any, objectives: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Least and largest mean reward, by objective."""
    limits: dict[str, dict[str, float]] = {bound: {} for bound in BOUNDS}
    if found is None:
        return limits[">="], limits["<="]
    if not isinstance(found, Mapping):
        raise InputError(f'subject_to must be like {{"{objectives[0]}": {{">=": 0.5}}}}, found {found!r}')
    for name, bounds in found.items():
        if name not in objectives:
            raise unknown_name("objective", str(name), objectives)
        if not isinstance(bounds, Mapping) or not bounds:
            raise InputError(f'subject_to of {name} must be like {{">=": 0.5}} or {{"<=": 0.5}}, found {bounds!r}')
        for bound, value in bounds.items():
            if bound not in BOUNDS:
                raise InputError(f"subject_to of {name}: valid are >= and <=, found {bound!r}")
            limits[bound][name] = _number(f"the bound {bound} of {name}", value)
    return limits[">="], limits["<="]


def _numbers(what: str, found: Any, objectives: Sequence[str]) -> dict[str, float]:
    if not isinstance(found, Mapping) or not found:
        raise InputError(f'{what} must be like {{"{objectives[0]}": 0.5}}, found {found!r}')
    for name in found:
        if name not in objectives:
            raise unknown_name("objective", str(name), objectives)
    return {name: _number(f"{what} of {name}", value) for name, value in found.items()}


def _number(what: str, value: Any) -> float:
    try:
        number = float(value) if _is_number(value) else math.nan
    except OverflowError:
        number = math.inf
    # Beyond this a difference of two rewards is no number any more.
    if not abs(number) < 1e300:
        raise InputError(f"{what} must be a finite number, found {value!r}")
    return number


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
