"""What every merging method is: a pure function of one tensor as N models have it, and the settings that it takes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name

# Elements worked on at a time on a CPU: what a method makes of them stays in the cache. A GPU wants few and large launches.
CPU_BLOCK = 1 << 16
GPU_BLOCK = 1 << 24


def setting(
    default: Any = MISSING,
    *,
    per_model: bool = False,
    least: float = -math.inf,
    most: float = math.inf,
    kind: type = float,
    from_engine: bool = False,
    unused: bool = False,
) -> Any:
    """Declare one setting of a method, a field of its `Parameters`.

    Args:
        default (`Any`, *optional*): of the setting, or of each model's where it is `per_model`; required when not given.
        per_model (`bool`): one value for each model, kept as a tuple `[N]`; else one for all.
        least (`float`): the least allowed value, included.
        most (`float`): the largest, included.
        kind (`type`): `float`, `int`, `bool`, `str`, or `tuple` (of floats).
        from_engine (`bool`): depends on the tensor, so whoever merges sets it, never a user.
        unused (`bool`): accepted because files of mergekit have it, and without effect here.
    """
    metadata = {
        "per_model": per_model,
        "least": least,
        "most": most,
        "kind": kind,
        "from_engine": from_engine,
        "unused": unused,
        "default": default,
    }
    if default is MISSING:
        return field(metadata=metadata)
    if per_model:  # how many models there are is only known in `Parameters.of`
        return field(default=(), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One setting of a method, for who reads configuration files.

    Args:
        name (`str`): as a file writes it (`lambda`, not `lambda_`).
        per_model (`bool`): one value for each model; else one for all.
        default (`Any`): `None` where it is `required`.
        required (`bool`): whether it must be given.
        kind (`type`): `float`, `int`, `bool`, `str` or `tuple`.
        from_engine (`bool`): set per tensor by whoever merges, never by a user.
    """

    name: str
    per_model: bool
    default: Any
    required: bool
    kind: type
    from_engine: bool


@dataclass(frozen=True)
class Parameters:
    """The settings of one method for one tensor. Each method has its own subclass; what is in it has been checked.

    Raises:
        InputError: a value is out of its range, not finite, or settings of different models differ in number.
    """

    def __post_init__(self) -> None:
        counts: dict[str, int] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if not f.metadata["per_model"]:
                object.__setattr__(self, f.name, _checked(_shown(f), value, f))
                continue
            values = tuple(_checked(f"{_shown(f)}[{i}]", v, f) for i, v in enumerate(value))
            object.__setattr__(self, f.name, values)
            counts[_shown(f)] = len(values)
        filled = {name: n for name, n in counts.items() if n}
        if len(set(filled.values())) > 1:
            found = ", ".join(f"{n} of {name}" for name, n in filled.items())
            raise InputError(f"every setting of the models needs one value for each model, found {found}")
        # Left-out settings of the models get their default once another has told how many models there are.
        for f in fields(self):
            if f.metadata["per_model"] and filled and not getattr(self, f.name):
                n = next(iter(filled.values()))
                object.__setattr__(self, f.name, (f.metadata["default"],) * n)

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """What may be set, in order."""
        made = []
        for f in fields(cls):
            m = f.metadata
            required = m["default"] is MISSING
            default = None if required else m["default"]
            made.append(Setting(_shown(f), m["per_model"], default, required, m["kind"], m["from_engine"]))
        return tuple(made)

    @classmethod
    def of(cls, n_models: int, given: Mapping[str, Any]) -> Self:
        """Settings from what a file or a call gives, under the names that a file uses.

        Args:
            n_models (`int`): N, without the base.
            given (`Mapping[str, Any]`): a setting of the models is one value for all or a sequence of N, in which `None` stands for the default.

        Raises:
            InputError: an unknown name (the nearest valid one is named), a required setting that is missing, another number of values than models.

        Example:
            >>> from frontier.realize.merging.methods import METHODS
            >>> METHODS["ties"].Parameters.of(2, {"weight": [0.3, 0.7], "density": 0.5}).density
            (0.5, 0.5)
        """
        known = {_shown(f): f for f in fields(cls)}
        for name in given:
            if name not in known:
                raise unknown_name("merging parameter", name, known)
        values = {f.name: _collected(f, n_models, given.get(name)) for name, f in known.items()}
        return cls(**values)


class MergeMethod(ABC):
    """One way to merge, tensor by tensor.

    Calling it is pure: its tensors are left as they are, and the same arguments and generator state give the same result.
    """

    name: ClassVar[str]
    """As a configuration file names it."""
    needs_base: ClassVar[bool] = False
    """Whether the base's tensor must be given; it is never one of the N."""
    takes_base: ClassVar[bool] = False
    """Whether a base may be given; always so where it is needed."""
    elementwise: ClassVar[bool] = False
    """Whether every element of the result depends only on the same element of the inputs, so that a tensor may be cut anywhere."""
    random: ClassVar[bool] = False
    """Whether it draws from the generator."""
    least_models: ClassVar[int] = 1
    most_models: ClassVar[int | None] = None
    on_factors: ClassVar[bool] = False
    """Whether it is meant for the A and B of LoRA adapters, and not for weights."""
    Parameters: ClassVar[type[Parameters]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.takes_base = cls.takes_base or cls.needs_base

    def __call__(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: Any,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Merge one tensor.

        Args:
            tensors (`Sequence[Tensor]`): the tensor in each of the N models: one shape, one device, any floating dtypes.
            base (`Tensor`, *optional*): the same tensor in the model that they all started from.
            parameters (`Parameters`): this method's own.
            generator (`torch.Generator`, *optional*): on any device; only for methods that are `random`, which need it.

        Returns:
            `Tensor`: of the same shape, float32 (float64 where an input is); never one of the inputs.

        Raises:
            InputError: the wrong number of models or weights, shapes that differ, a base too many or too few.
        """
        self._check(tensors, base, parameters, generator)
        return self._merge(tensors, base, parameters, generator)

    @abstractmethod
    def _merge(
        self, tensors: Sequence[Tensor], base: Tensor | None, parameters: Any, generator: torch.Generator | None
    ) -> Tensor:
        """The formula; everything has been checked."""

    def _check(
        self, tensors: Sequence[Tensor], base: Tensor | None, parameters: Any, generator: torch.Generator | None
    ) -> None:
        n = len(tensors)
        if not isinstance(parameters, self.Parameters):
            wanted, found = self.Parameters.__name__, type(parameters).__name__
            raise InputError(f"{self.name} needs parameters of the kind {wanted}, found {found}")
        if n < self.least_models or (self.most_models is not None and n > self.most_models):
            raise InputError(f"{self.name} merges {_counted(self.least_models, self.most_models)}, found {n}")
        for f in fields(parameters):
            if f.metadata["per_model"] and len(getattr(parameters, f.name)) != n:
                count = len(getattr(parameters, f.name))
                raise InputError(f"{self.name} needs one {_shown(f)} for each of the {n} models, found {count}")
        if base is None and self.needs_base:
            raise InputError(f"{self.name} needs the base model that the {n} models started from; none was given")
        if base is not None and not self.takes_base:
            raise InputError(f"{self.name} takes no base model; give it as one of the models")
        if self.random and generator is None:
            raise InputError(f"{self.name} draws at random and needs a generator, so that a merge can be repeated")
        first = tensors[0] if base is None else base
        what = "the first model" if base is None else "the base"
        for i, tensor in enumerate(tensors):
            if tensor.shape != first.shape:
                raise InputError(
                    f"the tensor's shape is {list(tensor.shape)} in model {i} but {list(first.shape)} in {what}: {self.name} needs one shape"
                )
        for tensor in (first, *tensors):
            if not tensor.is_floating_point():
                raise InputError(f"{self.name} merges floating-point tensors, found {tensor.dtype}")


def work_dtype(tensors: Sequence[Tensor], base: Tensor | None = None) -> torch.dtype:
    """What a merge accumulates in: float32, or float64 where an input is that."""
    given = list(tensors) if base is None else [*tensors, base]
    return torch.float64 if any(t.dtype == torch.float64 for t in given) else torch.float32


def blocks(size: int, device: torch.device) -> Iterator[slice]:
    """Cut a flat tensor so that what is made of a piece stays in the cache."""
    step = CPU_BLOCK if device.type == "cpu" else GPU_BLOCK
    return (slice(i, min(i + step, size)) for i in range(0, size, step))


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Σ w_i θ_i in the working dtype, in one pass; a weight of 0 leaves its tensor out, even where that is not finite."""
    dtype = work_dtype(tensors)
    first = tensors[0]
    flat = [t.reshape(-1) for t in tensors]
    out = torch.empty(first.numel(), dtype=dtype, device=first.device)
    used = [(t, w) for t, w in zip(flat, weights, strict=True) if w != 0]
    if not used:
        return out.zero_().view(first.shape)
    for block in blocks(first.numel(), first.device):
        piece = out[block]
        torch.mul(used[0][0][block].to(dtype), used[0][1], out=piece)
        for tensor, weight in used[1:]:
            piece.add_(tensor[block], alpha=weight)
    return out.view(first.shape)


def _shown(f: "Field[Any]") -> str:
    return f.name.rstrip("_")


def _counted(least: int, most: int | None) -> str:
    if most == least:
        return f"exactly {least} model{'s' * (least != 1)}"
    return f"at least {least} model{'s' * (least != 1)}" + ("" if most is None else f" and at most {most}")


def _checked(name: str, value: Any, f: "Field[Any]") -> Any:
    kind = f.metadata["kind"]
    if kind is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise InputError(f"{name} must be a list of numbers, found {value!r}")
        return tuple(_number(f"{name}[{i}]", v, float, f) for i, v in enumerate(value))
    if kind in (bool, str):
        if not isinstance(value, kind):
            raise InputError(f"{name} must be {'true or false' if kind is bool else 'text'}, found {value!r}")
        return value
    return _number(name, value, kind, f)


def _number(name: str, value: Any, kind: type, f: "Field[Any]") -> Any:
    whole = kind is int
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise InputError(f"{name} must be a {'whole ' * whole}number, found {value!r}")
    least, most = f.metadata["least"], f.metadata["most"]
    if not math.isfinite(value) or not least <= value <= most:
        raise InputError(f"{name} must be {_range(least, most)}, found {value!r}")
    return kind(value)


def _range(least: float, most: float) -> str:
    if math.isfinite(least) and math.isfinite(most):
        return f"between {least:g} and {most:g}"
    if math.isfinite(least):
        return f"finite and at least {least:g}"
    return "finite"


def _collected(f: "Field[Any]", n_models: int, value: Any) -> Any:
    """One setting's value from what a user gave, with its default where nothing was."""
    name, default = _shown(f), f.metadata["default"]
    if value is None and default is MISSING:
        raise InputError(f"the merging parameter '{name}' is missing and has no default")
    if not f.metadata["per_model"]:
        return default if value is None else value
    nested = f.metadata["kind"] is tuple  # one list for all models, or one list for each
    several = isinstance(value, Sequence) and not isinstance(value, str)
    if nested and several:
        several = any(v is None or isinstance(v, Sequence) for v in value)
    if not several:
        return (default if value is None else value,) * n_models
    values = cast("Sequence[Any]", value)
    if len(values) != n_models:
        raise InputError(f"{name} has {len(values)} values for {n_models} models")
    if default is MISSING and any(v is None for v in values):
        raise InputError(f"{name} has no default, and model {list(values).index(None)} has none")
    return tuple(default if v is None else v for v in values)
