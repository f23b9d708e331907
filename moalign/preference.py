"""Say what a user wants: named weights or a named direction over the objectives, checked once and used unchanged everywhere."""

import json
import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, NoReturn

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives

if TYPE_CHECKING:
    import torch

    from moalign.preference_sampling import (
        dirichlet_weights,
        lattice,
        lattice_at_least,
        riesz,
        sample_dirichlet,
        sample_uniform,
        snap,
    )

__all__ = [
    "Preference",
    "dirichlet_weights",
    "lattice",
    "lattice_at_least",
    "riesz",
    "sample_dirichlet",
    "sample_uniform",
    "snap",
]

KINDS = ("weights", "direction")
TOLERANCE = 1e-6


class Preference:
    """What a user wants of the objectives: immutable, hashable, with one text form and one JSON form.

    Two kinds exist. *Weights* lie on the simplex: non-negative, summing to 1. A *direction* is a unit vector (L2) whose components may be
    negative, as in Directional Preference Alignment ([Wang et al., 2024](https://arxiv.org/abs/2402.18571)): `verbose=-0.6` asks for less.
    Both refer to rewards that are maximised. An objective that is not named counts as zero.

    Two preferences are equal when they are of one kind and give every objective the same value: neither the order of naming nor an
    explicitly named zero matters, though both are kept in the text form.

    Args:
        weights (`Mapping[str, float]`): the weight of each objective.
        normalize (`bool`, *optional*, defaults to `False`): scale the weights to sum 1. Unless asked for, a sum further than 1e-6 from 1 is refused.

    Raises:
        InputError: nothing is named, a name is malformed, a value is not a finite number, a weight is negative or the sum is not 1.

    Example:
        >>> p = Preference.parse("helpful=0.7,brief=0.3")
        >>> p == Preference({"brief": 0.3, "helpful": 0.7, "safe": 0})
        True
        >>> p.to_json()
        {'weights': {'helpful': 0.7, 'brief': 0.3}}
        >>> p.as_tensor(["brief", "safe", "helpful"]).tolist() == [0.30000001192092896, 0.0, 0.699999988079071]
        True
        >>> str(Preference.direction({"helpful": 4, "verbose": -3}, normalize=True))
        'direction:helpful=0.8,verbose=-0.6'
        >>> Preference.parse("helpfull=1", objectives=["helpful", "brief"])
        Traceback (most recent call last):
        ...
        frontier.errors.InputError: unknown objective 'helpfull': did you mean 'helpful'? Valid: helpful, brief
    """

    __slots__ = ("_hash", "_kind", "_values")
    _hash: int
    _kind: str
    _values: dict[str, float]

    def __init__(self, weights: Mapping[str, float], *, normalize: bool = False) -> None:
        self._fill("weights", weights, None, normalize)

    @classmethod
    def direction(cls, components: Mapping[str, float], *, normalize: bool = False) -> "Preference":
        """A direction: a unit vector whose components may be negative.

        Args:
            components (`Mapping[str, float]`): the component along each objective.
            normalize (`bool`, *optional*, defaults to `False`): scale to L2 norm 1. Unless asked for, a norm further than 1e-6 from 1 is refused.

        Raises:
            InputError: as for weights, but negative components are fine and it is the norm that must be 1.
        """
        return cls._make("direction", components, None, normalize)

    @classmethod
    def uniform(cls, objectives: Iterable[str]) -> "Preference":
        """Equal weights, `1/K` on each of the K objectives."""
        names = check_objectives(objectives)
        return cls(dict.fromkeys(names, 1 / len(names)))

    @classmethod
    def only(cls, objective: str) -> "Preference":
        """A vertex of the simplex: all weight on one objective."""
        return cls({objective: 1.0})

    @classmethod
    def parse(cls, text: str, objectives: Iterable[str] | None = None, normalize: bool = False) -> "Preference":
        """Read the text form: `helpful=0.7,brief=0.3` for weights, `direction:helpful=0.8,verbose=-0.6` for a direction.

        Args:
            text (`str`): the text form; spaces around names and numbers are ignored.
            objectives (`Iterable[str]`, *optional*): the valid names; any other is refused.
            normalize (`bool`, *optional*, defaults to `False`): scale to sum 1 (weights) or norm 1 (direction).

        Raises:
            InputError: the text is malformed, names an objective twice or one that is not valid, or its values are refused.
        """
        kind, body = "weights", text.strip()
        if ":" in body:
            kind, body = (part.strip() for part in body.split(":", 1))
            if kind not in KINDS:
                raise unknown_name("kind of preference", kind, KINDS)
        pairs: list[tuple[str, float]] = []
        for part in body.split(","):
            name, equals, number = (piece.strip() for piece in part.partition("="))
            if not (name and equals and number):
                example = "direction:helpful=0.8,verbose=-0.6" if kind == "direction" else "helpful=0.7,brief=0.3"
                _refuse(f"preference {text!r}: found {part!r}, allowed: name=number, as in {example}", objectives)
            try:
                if "_" in number:  # float() reads 1_0 as 10, which nobody means here
                    raise ValueError
                pairs.append((name, float(number)))
            except ValueError:
                _refuse(f"preference {text!r}: {name!r} must be a number, found {number!r}", objectives)
        return cls._make(kind, _without_duplicates(pairs, objectives), objectives, normalize)

    @classmethod
    def from_json(
        cls, value: str | Mapping[str, Any], objectives: Iterable[str] | None = None, normalize: bool = False
    ) -> "Preference":
        """Read the JSON form: `{"weights": {...}}`, `{"direction": {...}}` or, for weights, the bare `{"helpful": 0.7, "brief": 0.3}`.

        Args:
            value (`str` or `Mapping[str, Any]`): JSON text or the object read from it.
            objectives (`Iterable[str]`, *optional*): the valid names; any other is refused.
            normalize (`bool`, *optional*, defaults to `False`): scale to sum 1 (weights) or norm 1 (direction).

        Raises:
            InputError: as for [`Preference.parse`]; also for text that is not JSON and for an object of another shape.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value, object_pairs_hook=lambda pairs: _without_duplicates(pairs, objectives))
            except json.JSONDecodeError as error:
                _refuse(f"preference is not valid JSON: {error}", objectives)
        if not isinstance(value, Mapping):
            shape = '{"weights": {...}}, {"direction": {...}} or {"helpful": 0.7, "brief": 0.3}'
            _refuse(f"preference must be an object like {shape}, found {value!r}", objectives)
        kind = next((key for key in value if isinstance(value[key], Mapping)), None)
        if kind is None:
            return cls._make("weights", value, objectives, normalize)
        if kind not in KINDS:
            raise unknown_name("kind of preference", str(kind), KINDS)
        if len(value) > 1:
            _refuse(f"preference must have {kind!r} alone, found {', '.join(map(repr, value))}", objectives)
        return cls._make(kind, value[kind], objectives, normalize)

    @classmethod
    def coerce(
        cls,
        value: "Preference | str | Mapping[str, Any]",
        objectives: Iterable[str] | None = None,
        normalize: bool = False,
    ) -> "Preference":
        """A preference from whatever a request, a flag or a caller gives: a `Preference`, its text form, its JSON text or its JSON object.

        Args:
            value (`Preference`, `str` or `Mapping[str, Any]`): the preference.
            objectives (`Iterable[str]`, *optional*): the valid names; any other is refused.
            normalize (`bool`, *optional*, defaults to `False`): scale to sum 1 (weights) or norm 1 (direction).

        Raises:
            InputError: `value` is none of these, or is refused by [`Preference.parse`] or [`Preference.from_json`].
        """
        if isinstance(value, Preference):
            return value if objectives is None else value.check(objectives)
        if isinstance(value, str):
            read = cls.from_json if value.lstrip().startswith("{") else cls.parse
            return read(value, objectives, normalize)
        return cls.from_json(value, objectives, normalize)

    @property
    def kind(self) -> str:
        """`"weights"` or `"direction"`."""
        return self._kind

    @property
    def values(self) -> dict[str, float]:
        """The value of every named objective, in the order of naming (a copy)."""
        return dict(self._values)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The named objectives, in the order of naming."""
        return tuple(self._values)

    def check(self, objectives: Iterable[str]) -> "Preference":
        """This preference, once every objective it names is one of `objectives`.

        Raises:
            InputError: a name is not among them; the message has the nearest valid name and all of them.
        """
        _check_names(self._values, check_objectives(objectives))
        return self

    def as_tensor(
        self,
        objectives: Iterable[str],
        dtype: "torch.dtype | None" = None,
        device: "torch.device | str | None" = None,
    ) -> "torch.Tensor":
        """The values as a tensor `[K]` in the order of `objectives`; objectives that are not named are 0.

        Args:
            objectives (`Iterable[str]`): the K objectives, in the order of the result.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): the type of the result.
            device (`torch.device` or `str`, *optional*): where the result lives.

        Raises:
            InputError: the preference names an objective that is not among them.
        """
        import torch

        names = check_objectives(objectives)
        _check_names(self._values, names)
        return torch.tensor(
            [self._values.get(name, 0.0) for name in names], dtype=dtype or torch.float32, device=device
        )

    def to_json(self) -> dict[str, dict[str, float]]:
        """`{"weights": {...}}` or `{"direction": {...}}`."""
        return {self._kind: dict(self._values)}

    @classmethod
    def _make(
        cls, kind: str, values: Mapping[str, Any], objectives: Iterable[str] | None, normalize: bool
    ) -> "Preference":
        preference = cls.__new__(cls)
        preference._fill(kind, values, objectives, normalize)
        return preference

    def _fill(self, kind: str, values: Mapping[str, Any], objectives: Iterable[str] | None, normalize: bool) -> None:
        """Validate and set; the only place that writes the fields."""
        valid = None if objectives is None else check_objectives(objectives)
        if not isinstance(values, Mapping):
            _refuse(f"preference {kind} must map objectives to numbers, found {values!r}", valid)
        if not values:
            _refuse(f"preference {kind} name no objective, as in helpful=0.7,brief=0.3", valid)
        if valid is not None:
            _check_names(values, valid)
        check_objectives(values)
        numbers = {name: _number(name, value, valid) for name, value in values.items()}
        if kind == "weights":
            for name, number in numbers.items():
                if number < 0:
                    _refuse(f"weight of {name!r} must not be negative, found {number!r}", valid)
        size = _size(kind, numbers)
        # What is valid already stays as it is to the last bit, so that normalising twice changes nothing.
        if not abs(size - 1) <= TOLERANCE:
            if not normalize:
                goal = f"preference {kind} must {'sum to' if kind == 'weights' else 'have L2 norm'} 1"
                _refuse(f"{goal}, found {size:.9g} ({_text(numbers)}); ask for normalising to have them scaled", valid)
            numbers = _scaled_to_one(kind, numbers, valid)
        numbers = {name: number + 0.0 for name, number in numbers.items()}  # -0.0, which scaling can make, is 0.0
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_values", numbers)
        object.__setattr__(self, "_hash", hash((kind, frozenset(self._nonzero().items()))))

    def _nonzero(self) -> dict[str, float]:
        return {name: value for name, value in self._values.items() if value}

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a Preference is immutable: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Preference is immutable: {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and worker processes rebuild it from its values: string hashes differ between processes.
        return Preference._make, (self._kind, self._values, None, False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Preference):
            return NotImplemented
        return self._kind == other._kind and self._nonzero() == other._nonzero()

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return ("direction:" if self._kind == "direction" else "") + _text(self._values)

    def __repr__(self) -> str:
        return f"Preference.parse({str(self)!r})"


def _text(values: Mapping[str, float]) -> str:
    return ",".join(f"{name}={value!r}" for name, value in values.items())


def _size(kind: str, numbers: Mapping[str, float]) -> float:
    """The sum of weights, the L2 norm of a direction."""
    return math.hypot(*numbers.values()) if kind == "direction" else sum(sorted(numbers.values()))


def _scaled_to_one(kind: str, numbers: dict[str, float], valid: Iterable[str] | None) -> dict[str, float]:
    largest = max(map(abs, numbers.values()))
    if largest == 0:
        _refuse(f"preference {kind} are all zero: they cannot be normalised", valid)
    # Dividing by the largest first keeps huge and tiny values from overflowing or vanishing in the sum.
    shrunk = {name: number / largest for name, number in numbers.items()}
    size = _size(kind, shrunk)
    return {name: number / size for name, number in shrunk.items()}


def _number(name: str, value: Any, valid: Iterable[str] | None) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        _refuse(f"value of {name!r} must be a number, found {value!r}", valid)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        _refuse(f"value of {name!r} must be finite, found {number!r}", valid)
    return number + 0.0  # -0.0 becomes 0.0


def _check_names(found: Iterable[Any], valid: tuple[str, ...]) -> None:
    for name in found:
        if name not in valid:
            raise unknown_name("objective", str(name), valid)


def _without_duplicates(pairs: Iterable[tuple[str, Any]], valid: Iterable[str] | None) -> dict[str, Any]:
    """A dict of the pairs, in order; a name that comes twice is refused, where `dict` would keep the last."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            _refuse(f"preference names {name!r} twice", valid)
        values[name] = value
    return values


def _refuse(message: str, valid: Iterable[str] | None) -> NoReturn:
    raise InputError(message if valid is None else f"{message}. Valid objectives: {', '.join(valid)}")


def __getattr__(name: str) -> Any:
    # The samplers live next door, since they need numpy and torch; here they are found under the name of the concept.
    if name in __all__:
        from moalign import preference_sampling

        return getattr(preference_sampling, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
