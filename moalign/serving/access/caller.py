"""What the holder of a key may do."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from frontier.errors import InputError
from moalign.preference import Preference

# Weights that were computed may miss a bound by a rounding error.
TOLERANCE = 1e-9


class Forbidden(Exception):
    """The caller is known, and may not do this (403).

    Args:
        message (`str`): what was asked for and what is allowed.
        param (`str`, *optional*): the field of the request.
        code (`str`): for programs.
    """

    def __init__(self, message: str, param: str | None, code: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def _is_finite(bound: object) -> bool:
    try:
        return isinstance(bound, int | float) and not isinstance(bound, bool) and math.isfinite(bound)
    except OverflowError:  # an integer beyond every float
        return False


@dataclass(frozen=True)
class Range:
    """Which values an objective may have in a preference.

    Args:
        min (`float`, *optional*): the smallest.
        max (`float`, *optional*): the largest.

    Raises:
        InputError: a bound is not a finite number, both are missing, or the smallest is above the largest.
    """

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        for name in ("min", "max"):
            bound = getattr(self, name)
            if bound is not None and not _is_finite(bound):
                raise InputError(f"{name} must be a finite number, found {bound!r}")
        if self.min is None and self.max is None:
            raise InputError("a range needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise InputError(f"min {self.min} is above max {self.max}")

    def __contains__(self, value: float) -> bool:
        # NaN is in no range: each comparison must hold, not merely fail to be broken.
        above = self.min is None or value >= self.min - TOLERANCE
        return above and (self.max is None or value <= self.max + TOLERANCE)

    def __str__(self) -> str:
        if self.min is None:
            return f"at most {self.max}"
        if self.max is None:
            return f"at least {self.min}"
        return f"from {self.min} to {self.max}"


@dataclass(frozen=True)
class Caller:
    """Who sent a request; handlers find it in `request.state.caller`. A limit that is missing does not limit.

    Args:
        name (`str`): as the policy file calls the key's holder.
        preference (`Mapping[str, Range]`): the range of each objective in the preference that an answer is made with, whoever chose it.
        paths (`tuple[str, ...]`, *optional*): the paths that may be asked, each with all below it.
        requests_per_minute (`int`, *optional*): requests; as many may come at once.
        concurrency (`int`, *optional*): requests at a time.
        max_tokens (`int`, *optional*): largest `max_tokens` of a request.
        tokens_per_minute (`int`, *optional*): tokens, of prompts and answers.
        tokens_per_day (`int`, *optional*): the same.
    """

    name: str
    preference: Mapping[str, Range] = field(default_factory=dict)
    paths: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    concurrency: int | None = None
    max_tokens: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None

    def allows(self, preference: Preference) -> bool:
        """Whether answers may be made with this preference; an objective that it does not name counts as zero."""
        values = preference.values
        return all(values.get(name, 0.0) in allowed for name, allowed in self.preference.items())

    def check_preference(self, preference: Preference) -> None:
        """Refuse a preference that this caller may not have, whether it was asked for or chosen by a gate, a user's posterior or a default.

        Raises:
            Forbidden: says what was found for each objective out of its range, and every range.
        """
        values = preference.values
        out = [
            f"{name} {values.get(name, 0.0):g}"
            for name, allowed in self.preference.items()
            if values.get(name, 0.0) not in allowed
        ]
        if out:
            allowed = ", ".join(f"{name} {allowed}" for name, allowed in self.preference.items())
            raise Forbidden(
                f"preference: this key may not use {', '.join(out)}, allowed: {allowed}",
                "preference",
                "preference_not_allowed",
            )

    def check_path(self, path: str) -> None:
        """Refuse a path that this caller may not ask.

        Raises:
            Forbidden: it is neither one of `paths` nor below one.
        """
        if self.paths is not None and not any(path == own or path.startswith(own + "/") for own in self.paths):
            raise Forbidden(f"this key may not use {path}, allowed: {', '.join(self.paths)}", None, "path_not_allowed")


# Whoever asks a server without a policy file.
ANYONE = Caller("anyone")
