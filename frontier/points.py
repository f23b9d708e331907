"""What was measured of one policy, and a volume with what it refers to: the parts that a front is made of."""

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frontier.errors import InputError, unknown_name


@dataclass(frozen=True)
class FrontPoint:
    """One policy, or one setting of a steerable policy, as it was measured.

    Args:
        rewards (`tuple[float, ...]`): `[K]` mean rewards, maximised, finite, in the order of the front's objectives.
        standard_error (`tuple[float, ...]`): `[K]` standard errors of those means; NaN = not known.
        n_prompts (`int`): how many prompts the means are over.
        preference (`dict`, *optional*): what the policy was asked for, in the JSON form of moalign's `Preference`: `{"weights": {"helpful": 0.7, "brief": 0.3}}`. An
            objective left out of the weights has weight 0. `None` for a policy that was asked for nothing, such as the reference.
        kl (`float`, *optional*): mean KL divergence to the reference policy, in nats per completion.
        source (`str`, *optional*): what produced it: a bundle, a method, a file.
        extra (`dict`, *optional*): anything else, as JSON values. Plots show `extra["sample"]`, a text that the policy wrote.

    Raises:
        InputError: a reward is not finite, a standard error is negative or infinite, lengths differ, or `n_prompts` is below 1.
    """

    rewards: tuple[float, ...]
    standard_error: tuple[float, ...]
    n_prompts: int
    preference: dict[str, Any] | None = None
    kl: float | None = None
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rewards", "standard_error"):
            object.__setattr__(
                self, name, tuple(as_number(name, value) for value in as_list(name, getattr(self, name)))
            )
        if not all(math.isfinite(r) for r in self.rewards):
            raise InputError(f"rewards must be finite, found {list(self.rewards)}")
        if any(s < 0 or math.isinf(s) for s in self.standard_error):
            raise InputError(
                f"standard_error must be at least 0 (NaN where it is not known), found {list(self.standard_error)}"
            )
        if len(self.rewards) != len(self.standard_error):
            raise InputError(
                f"standard_error must have one value per reward: found {len(self.standard_error)} for {len(self.rewards)}"
            )
        whole = hasattr(self.n_prompts, "__index__") and not isinstance(self.n_prompts, bool)
        if not whole or self.n_prompts < 1:
            raise InputError(f"n_prompts must be a whole number of at least 1, found {self.n_prompts!r}")
        object.__setattr__(self, "n_prompts", operator.index(self.n_prompts))  # a NumPy integer would not go into JSON
        if self.kl is not None:
            object.__setattr__(self, "kl", as_number("kl", self.kl))
            if not math.isfinite(self.kl):
                raise InputError(f"kl must be finite, or None where it is not known; found {self.kl}")
        if self.preference is not None and not isinstance(self.preference, dict):
            raise InputError(f"preference must be a mapping or None, found {self.preference!r}")
        if not isinstance(self.extra, dict) or not isinstance(self.source, str):
            raise InputError(f"extra must be a mapping and source a text, found {self.extra!r} and {self.source!r}")

    def weights(self, objectives: Iterable[str]) -> tuple[float, ...] | None:
        """`[K]` weights in the order of the objectives, or `None` when the preference holds none."""
        named = (self.preference or {}).get("weights")
        if named is None:
            return None
        if not isinstance(named, Mapping):
            raise InputError(f"preference.weights must map objectives to numbers, found {named!r}")
        names = list(objectives)
        for name in named:
            if name not in names:
                raise unknown_name("objective in preference.weights", str(name), names)
        values = tuple(as_number(f"preference.weights.{name}", named.get(name, 0.0)) for name in names)
        if not all(math.isfinite(v) for v in values):
            raise InputError(f"preference.weights must be finite, found {named}")
        return values


@dataclass(frozen=True)
class Hypervolume:
    """A hypervolume with what it refers to; two of them compare only when reference point, normaliser and prompts agree.

    Args:
        value (`float`): the dominated volume, in the product of the objectives' units.
        reference_point (`tuple[float, ...]`): `[K]`, in the front's objective order.
        normalizer (`dict`, *optional*): of the front; `None` for raw rewards.
        n_prompts (`int`): the fewest prompts that a point was measured on.
    """

    value: float
    reference_point: tuple[float, ...]
    normalizer: dict[str, Any] | None
    n_prompts: int


def as_indices(indices: Iterable[Any], count: int) -> list[int]:
    """The indices of some of `count` points; a truth value, a fraction and an index of no point are refused."""
    found = []
    for index in indices:
        if isinstance(index, bool | np.bool_) or not hasattr(index, "__index__"):
            raise InputError(
                f"points are taken by their index, found {index!r}; for conditions there is ParetoFront.filter"
            )
        found.append(operator.index(index))
        if not 0 <= found[-1] < count:
            raise InputError(f"there is no point {found[-1]}: the points are 0..{count - 1}")
    return found


def as_list(name: str, values: Any) -> list[Any]:
    """The values as a list; a text, a mapping or a single number is refused, naming the field."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, found {values!r}")
    return list(values)


def as_number(name: str, value: Any) -> float:
    """The value as a float; a text or a truth value is refused, naming the field."""
    try:
        if isinstance(value, str | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold numbers, found {value!r}") from None
