"""Keep a measured front together with everything that its numbers need to mean something.

Each point carries its preference, its mean rewards with their standard errors, the number of prompts, its distance from the reference policy and where it
came from; the front carries its objectives, the reference policy and the normaliser. Every hypervolume comes with its reference point.
"""

import json
import math
import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier import measure
from frontier.atomic import write_text
from frontier.errors import InputError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "frontier.ParetoFront"
SCHEMA_VERSION = 1


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
            object.__setattr__(self, name, tuple(_number(name, value) for value in _rows(name, getattr(self, name))))
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
            object.__setattr__(self, "kl", _number("kl", self.kl))
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
        values = tuple(_number(f"preference.weights.{name}", named.get(name, 0.0)) for name in names)
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


@dataclass(frozen=True)
class ParetoFront:
    """Policies that trade objectives off against each other, measured side by side. Every objective is maximised.

    Dominated points may be among them: they are part of what was measured, and `non_dominated` leaves them out.

    Args:
        objectives (`tuple[str, ...]`): the K names.
        points (`tuple[FrontPoint, ...]`): at least one.
        reference_policy (`FrontPoint`, *optional*): where training started from.
        normalizer (`dict`, *optional*): location and scale of each objective that the rewards were divided by, as JSON values; `None` for raw rewards.
        info (`dict`, *optional*): anything else about the measurement, as JSON values.

    Raises:
        InputError: no or doubled objectives, no points, or a point that does not fit the objectives; the message names the point.

    Example:
        >>> front = ParetoFront(("helpful", "brief"), (FrontPoint((1, 3), (0.1, 0.1), 64), FrontPoint((2, 2), (0.1, 0.1), 64)))
        >>> front.hypervolume(reference_point=(0, 0)).value
        5.0
    """

    objectives: tuple[str, ...]
    points: tuple[FrontPoint, ...]
    reference_policy: FrontPoint | None = None
    normalizer: dict[str, Any] | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", tuple(_rows("objectives", self.objectives)))
        object.__setattr__(self, "points", tuple(_rows("points", self.points)))
        names = self.objectives
        if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
            raise InputError(f"objectives must be names that differ, at least one; found {list(names)}")
        if not self.points:
            raise InputError("points must hold at least one point, found none")
        named = [(f"points[{i}]", p) for i, p in enumerate(self.points)]
        if self.reference_policy is not None:
            named.append(("reference_policy", self.reference_policy))
        for where, point in named:
            if len(point.rewards) != len(names):
                raise InputError(
                    f"{where}.rewards must have one value per objective ({', '.join(names)}), found {len(point.rewards)}"
                )
            try:
                point.weights(names)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error

    @property
    def rewards(self) -> NDArray[np.float64]:
        """`[n, K]` mean rewards."""
        return np.array([p.rewards for p in self.points], dtype=np.float64)

    @property
    def standard_errors(self) -> NDArray[np.float64]:
        """`[n, K]` standard errors of the mean rewards, NaN = not known."""
        return np.array([p.standard_error for p in self.points], dtype=np.float64)

    @property
    def weights(self) -> NDArray[np.float64]:
        """`[n, K]` weights; a row of NaN where the preference is none or is not made of weights."""
        unknown = (math.nan,) * len(self.objectives)
        return np.array([p.weights(self.objectives) or unknown for p in self.points], dtype=np.float64)

    def non_dominated_mask(self) -> NDArray[np.bool_]:
        """`[n]`, true for the points that no other dominates; of equal reward vectors only the first."""
        return measure.non_dominated(self.rewards)

    def non_dominated(self) -> "ParetoFront":
        """The front without its dominated points, everything else unchanged."""
        kept = tuple(p for p, keep in zip(self.points, self.non_dominated_mask(), strict=True) if keep)
        return ParetoFront(self.objectives, kept, self.reference_policy, self.normalizer, self.info)

    def hypervolume(self, reference_point: ArrayLike | None = None) -> Hypervolume:
        """The hypervolume of the points, with its reference point.

        Args:
            reference_point (`ArrayLike`, *optional*): `[K]`. Default: `common_reference_point(self)`. Give one point for all when you compare fronts.
        """
        place = common_reference_point(self) if reference_point is None else np.asarray(reference_point, dtype=float)
        value = measure.hypervolume(self.rewards, place)
        return Hypervolume(value, tuple(place.tolist()), self.normalizer, min(p.n_prompts for p in self.points))

    def eum(self, weights: ArrayLike | None = None) -> float:
        """Expected utility: the mean over weights of the best point for each (see `frontier.measure.eum`).

        Args:
            weights (`ArrayLike`, *optional*): `[W, K]`. Default: the weights that the points themselves were steered to.
        """
        return measure.eum(self.rewards, self._steered()[1] if weights is None else weights)

    def mip(self) -> float:
        """Mean inner product of each steered point with its own weights (see `frontier.measure.mip`)."""
        return measure.mip(*self._steered())

    def controllability_gap(self) -> float:
        """EUM - MIP over the weights of the points, at least 0: what is lost because steering is not exact."""
        # The two means are rounded apart; mathematically the difference can't be negative.
        return max(0.0, self.eum() - self.mip())

    def steering(self) -> dict[str, float]:
        """Per objective, Spearman's correlation between weight and reward over the steered points; NaN = not known."""
        rewards, weights = self._steered()
        return dict(zip(self.objectives, measure.steering(weights, rewards).tolist(), strict=True))

    def _steered(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rewards and weights of the points that have weights."""
        weights = self.weights
        known = ~np.isnan(weights).any(axis=1)
        if not known.any():
            raise InputError("no point of the front has weights in its preference, so this figure has no meaning here")
        return self.rewards[known], weights[known]

    def table(self) -> str:
        """The points as an aligned text table: weights, rewards ± standard error, KL, and `*` where no point dominates."""
        header = ["", "#", *(f"w({o})" for o in self.objectives), *self.objectives, "KL", "prompts", "source"]
        marks = ["*" if keep else "" for keep in self.non_dominated_mask()]
        rows = [
            [m, str(i), *_cells(p, self.objectives)] for i, (m, p) in enumerate(zip(marks, self.points, strict=True))
        ]
        if self.reference_policy is not None:
            rows.append(["", "ref", *_cells(self.reference_policy, self.objectives)])
        used = [j for j in range(len(header)) if any(row[j] for row in rows)]
        widths = {j: max(len(row[j]) for row in [header, *rows]) for j in used}
        lines = ["  ".join(row[j].rjust(widths[j]) for j in used).rstrip() for row in [header, *rows]]
        return "\n".join(lines)

    def to_frame(self) -> "pd.DataFrame":
        """The points as a data frame: one row a point, columns `weight.NAME`, `NAME`, `NAME.se`, `kl`, `n_prompts`, `non_dominated`, `source`."""
        import pandas as pd

        columns: dict[str, Any] = {}
        for prefix, suffix, array in (
            ("weight.", "", self.weights),
            ("", "", self.rewards),
            ("", ".se", self.standard_errors),
        ):
            columns |= {f"{prefix}{name}{suffix}": array[:, k] for k, name in enumerate(self.objectives)}
        columns["kl"] = [math.nan if p.kl is None else p.kl for p in self.points]
        columns["n_prompts"] = [p.n_prompts for p in self.points]
        columns["non_dominated"] = self.non_dominated_mask()
        columns["source"] = [p.source for p in self.points]
        return pd.DataFrame(columns)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the front as JSON. `load` gives back every float bit for bit.

        Raises:
            InputError: `info`, `normalizer`, a preference or an `extra` holds something that JSON has no form for (NaN included).
        """
        document = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION} | {
            f.name: getattr(self, f.name) for f in fields(self)
        }
        document["points"] = [_to_json(p) for p in self.points]
        document["reference_policy"] = self.reference_policy and _to_json(self.reference_policy)
        try:
            text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: the front can't be written as JSON: {error}") from error
        write_text(Path(path), text + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ParetoFront":
        """Read a front that `save` wrote.

        Raises:
            InputError: the file is missing, is no JSON, has another schema, lacks or adds a field, or holds a NaN; the message names file and field.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf8"), parse_constant=_refuse_constant)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a readable front: {error}") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            found = document.get("schema") if isinstance(document, dict) else type(document).__name__
            raise InputError(f"{path}: field schema must be {SCHEMA!r}, found {found!r}")
        if document.pop("schema_version", None) != SCHEMA_VERSION:
            raise InputError(
                f"{path}: field schema_version must be {SCHEMA_VERSION}; a newer front needs a newer frontier"
            )
        del document["schema"]
        try:
            _check_fields("", document, cls)
            points = [_from_json(f"points[{i}]", p) for i, p in enumerate(_rows("points", document["points"]))]
            reference = document["reference_policy"]
            if reference is not None:
                document["reference_policy"] = _from_json("reference_policy", reference)
            return cls(**(document | {"points": points}))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def common_reference_point(*fronts: ParetoFront) -> NDArray[np.float64]:
    """One reference point for several fronts: the policy of `frontier.measure.reference_point` over all their points and reference policies.

    Args:
        *fronts (`ParetoFront`): over the same objectives in the same order.

    Returns:
        `NDArray[np.float64]`: `[K]`.

    Raises:
        InputError: no front is given or their objectives differ.
    """
    if not fronts:
        raise InputError("a common reference point needs at least one front")
    for front in fronts[1:]:
        if front.objectives != fronts[0].objectives:
            raise InputError(
                f"fronts compare only over the same objectives in the same order: found {list(fronts[0].objectives)} "
                f"and {list(front.objectives)}"
            )
    rows = [p.rewards for front in fronts for p in (*front.points, front.reference_policy) if p is not None]
    return measure.reference_point(rows)


def _rows(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, found {values!r}")
    return list(values)


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold numbers, found {value!r}") from None


def _cells(point: FrontPoint, objectives: tuple[str, ...]) -> list[str]:
    weights = point.weights(objectives)
    return [
        *([f"{w:.2f}" for w in weights] if weights else [""] * len(objectives)),
        *(f"{r:.3f} ± {s:.3f}" for r, s in zip(point.rewards, point.standard_error, strict=True)),
        "" if point.kl is None else f"{point.kl:.3f}",
        str(point.n_prompts),
        point.source,
    ]


def _to_json(point: FrontPoint) -> dict[str, Any]:
    # JSON has no NaN: an unknown standard error is null.
    return asdict(point) | {"standard_error": [None if math.isnan(s) else s for s in point.standard_error]}


def _from_json(where: str, record: Any) -> FrontPoint:
    _check_fields(where, record, FrontPoint)
    try:
        errors = [math.nan if s is None else s for s in _rows("standard_error", record["standard_error"])]
        return FrontPoint(**(record | {"standard_error": errors}))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check_fields(where: str, record: Any, of: type[FrontPoint] | type[ParetoFront]) -> None:
    names = [f.name for f in fields(of)]
    if not isinstance(record, dict):
        raise InputError(
            f"{where or 'the front'} must be an object with the fields {', '.join(names)}, found {record!r}"
        )
    for name in record:
        if name not in names:
            raise unknown_name(f"field of {where or 'the front'}", name, names)
    for name in names:
        if name not in record:
            raise InputError(f"field {where + '.' if where else ''}{name} is missing")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no JSON number")
