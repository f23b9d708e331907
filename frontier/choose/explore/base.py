"""The one protocol of every exploring strategy: ask for weights, tell what they gave, read what is left to gain."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError, check_fields
from frontier.measure.dominance import as_points
from frontier.measure.rows import whole_number

SCHEMA = "frontier.Explorer"
SCHEMA_VERSION = 1
# Weights that agree to so many digits are the same question.
DIGITS = 9
Array = NDArray[np.float64]
Key = tuple[float, ...]


@dataclass(frozen=True)
class Bound:
    """How much further exploring could still gain.

    Args:
        value (`float`): at most this much, or this much by expectation (`what` says which); infinite before enough was measured to say.
        unit (`str`): of the value.
        what (`str`): what it bounds and under which assumption.
    """

    value: float
    unit: str
    what: str


@dataclass(frozen=True)
class Measured:
    """What is known of each weight vector, repeated measurements combined.

    Args:
        weights (`Array`): `[n, M]`, in the order in which they were first told.
        rewards (`Array`): `[n, K]`, means; repeated measurements are weighted by their precision.
        errors (`Array`): `[n, K]` standard errors of those means; 0 where none was told.
        times (`NDArray`): `[n]`, how often each was measured.
    """

    weights: Array
    rewards: Array
    errors: Array
    times: NDArray[np.int64]


class Explorer(ABC):
    """Decides which weights (or soup coefficients) to evaluate or train next. Every objective is maximised.

    What is asked next depends only on the settings, on what was told, and on what was asked and not yet told. So the JSON state is small and exact: an explorer that was read back asks
    the very same weights.

    Args:
        n_weights (`int`): M, the number of weights or of soup ingredients, at least 2.
        n_objectives (`int`, *optional*): K, the number of rewards, at least 2; M when not given.
        epsilon (`float`): the explorer is done when its bound is at most this, in the bound's unit.
        repeats (`int`, *optional*, defaults to 0): how often a weight may be asked again, for strategies that do so, and only where its standard error was told.
        seed (`int`, *optional*, defaults to 0): of whatever is random.

    Raises:
        InputError: a count, the epsilon or the seed is out of range.
    """

    kind: ClassVar[str]

    def __init__(
        self, n_weights: int, n_objectives: int | None = None, *, epsilon: float, repeats: int = 0, seed: int = 0
    ) -> None:
        self.n_weights = whole_number(n_weights, "n_weights", 2)
        self.n_objectives = self.n_weights if n_objectives is None else whole_number(n_objectives, "n_objectives", 2)
        self.epsilon = at_least_0("epsilon", epsilon)
        self.repeats = whole_number(repeats, "repeats", 0)
        self.seed = whole_number(seed, "seed", 0)
        self._told: list[tuple[Array, Array, Array | None]] = []
        self._pending: dict[Key, Array] = {}
        self._memo: dict[str, Any] = {}

    # ---- what a strategy adds

    @abstractmethod
    def _propose(self, n: int) -> list[Array]:
        """Up to n weight vectors to measure next, the best first; fewer when no more are worth it."""

    @abstractmethod
    def _bound(self) -> Bound:
        """What is left, from all that was told."""

    def _exhausted(self) -> bool:
        """Whether nothing is left to ask, once nothing waits."""
        return not self._propose(1)

    def _settings(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values."""
        names = ("n_weights", "n_objectives", "epsilon", "seed")
        return {name: getattr(self, name) for name in names}

    def _check_weights(self, weights: Array) -> None:
        """Refuse weights that this strategy can't place; by default all that are not on the simplex."""
        off = np.flatnonzero((weights < -1e-9).any(axis=1) | (np.abs(weights.sum(axis=1) - 1) > 1e-6))
        if off.size:
            row = int(off[0])
            raise InputError(
                f"row {row} of the weights must not be negative and must sum to 1, found {weights[row].tolist()}"
            )

    # ---- what a user calls

    def ask(self, n: int = 1) -> Array:
        """The next weights to evaluate.

        Args:
            n (`int`, *optional*, defaults to 1): how many at once, at least 1.

        Returns:
            `Array`: `[n, M]`; fewer rows, down to none, when everything worth asking is already out and waits to be told.

        Raises:
            InputError: the explorer is done, or n is less than 1.
        """
        n = whole_number(n, "n", 1)
        if self.done:
            raise InputError(
                f"there is nothing left to ask: {len(self.measured.weights)} weights were measured and the bound "
                f"is {self.bound().value:.4g} ({self.bound().unit}), with epsilon {self.epsilon:g}"
            )
        asked = self._propose(n)[:n]
        for weights in asked:
            self._pending[key(weights)] = weights
        self._memo.clear()
        return np.array(asked, dtype=np.float64).reshape(len(asked), self.n_weights)

    def tell(
        self,
        weights: ArrayLike,
        rewards: ArrayLike,
        standard_errors: ArrayLike | None = None,
        *,
        unasked: bool = False,
    ) -> None:
        """Report what weights gave, in any order and in parts. Nothing is taken in when a row is refused.

        Args:
            weights (`ArrayLike`): `[n, M]`, as asked.
            rewards (`ArrayLike`): `[n, K]`, maximised, finite.
            standard_errors (`ArrayLike`, *optional*): `[n, K]`, of the rewards; all or none of them.
            unasked (`bool`, *optional*, defaults to `False`): take weights that were never asked, such as those of an earlier front.

        Raises:
            InputError: a NaN, another number of rows or columns, a negative error, or weights that were not asked; the message names the row.
        """
        rows = as_points(weights, "weights", self.n_weights)
        values = as_points(rewards, "rewards", self.n_objectives)
        errors = None if standard_errors is None else as_points(standard_errors, "standard errors", self.n_objectives)
        if len(values) != len(rows) or (errors is not None and len(errors) != len(rows)):
            found = f"{len(rows)} weights, {len(values)} rewards" + (
                "" if errors is None else f", {len(errors)} errors"
            )
            raise InputError(f"weights, rewards and standard errors must have one row each, found {found}")
        if errors is not None and (errors < 0).any():
            raise InputError("standard errors must be at least 0")
        self._check_weights(rows)
        keys = [key(row) for row in rows]
        if not unasked:
            self._check_asked(keys, rows)
        for i, name in enumerate(keys):
            # The asked numbers stand for what came back, so that a rounded echo changes nothing.
            place = self._pending.pop(name, rows[i])
            self._told.append((place, values[i], None if errors is None else errors[i]))
        self._memo.clear()

    def bound(self) -> Bound:
        """How much is left to gain, with its unit."""
        if "bound" not in self._memo:
            self._memo["bound"] = self._bound()
        bound: Bound = self._memo["bound"]
        return bound

    @property
    def done(self) -> bool:
        """Whether the bound is at most epsilon, or nothing is left that could be asked."""
        if "done" not in self._memo:
            exhausted = not self._pending and len(self._told) > 0 and self._exhausted()
            self._memo["done"] = bool(exhausted or self.bound().value <= self.epsilon)
        return bool(self._memo["done"])

    @property
    def measured(self) -> Measured:
        """All that was told."""
        if "measured" not in self._memo:
            self._memo["measured"] = self._merge()
        measured: Measured = self._memo["measured"]
        return measured

    @property
    def pending(self) -> Array:
        """`[p, M]` weights that were asked and not told yet."""
        rows = list(self._pending.values())
        return np.array(rows, dtype=np.float64).reshape(len(rows), self.n_weights)

    def to_json(self) -> dict[str, Any]:
        """The whole state as JSON values; `from_json` goes on exactly where this one is."""
        told = [
            {
                "weights": w.tolist(),
                "rewards": r.tolist(),
                "standard_errors": None if e is None else e.tolist(),
            }
            for w, r, e in self._told
        ]
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "settings": self._settings(),
            "told": told,
            "pending": self.pending.tolist(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | str) -> Self:
        """Read what `to_json` gave, as values or as text.

        Raises:
            InputError: no such state, another kind of explorer, or a field too many or too few.
        """
        state = read_state(document)
        if state["kind"] != cls.kind:
            raise InputError(f"this is the state of a {state['kind']!r} explorer, not of a {cls.kind!r} one")
        made = cls(**state["settings"])
        for point in state["told"]:
            check_fields(point, ("weights", "rewards", "standard_errors"))
            errors = point["standard_errors"]
            made.tell([point["weights"]], [point["rewards"]], None if errors is None else [errors], unasked=True)
        for row in as_points(state["pending"], "pending weights", made.n_weights):
            made._pending[key(row)] = row
        made._memo.clear()
        return made

    # ---- for the strategies

    def _used(self) -> set[Key]:
        """Weights that were measured often enough: once where that was exact."""
        known = self.measured
        rows = zip(known.weights, known.errors, known.times, strict=True)
        return {key(w) for w, e, n in rows if n > self.repeats or not e.any()}

    def _taken(self) -> set[Key]:
        """Weights that must not be asked now: those that wait too."""
        return {*self._pending, *self._used()}

    def _merge(self) -> Measured:
        rows: dict[Key, list[int]] = {}
        for i, (weights, _, _) in enumerate(self._told):
            rows.setdefault(key(weights), []).append(i)
        count = self.n_objectives
        rewards, errors = np.zeros((len(rows), count)), np.zeros((len(rows), count))
        for j, places in enumerate(rows.values()):
            values = np.array([self._told[i][1] for i in places])
            given = [self._told[i][2] for i in places]
            exact = any(e is None for e in given)
            spread = np.zeros_like(values) if exact else np.array(given)
            rewards[j], errors[j] = _combined(values, spread)
        weights = np.array([self._told[p[0]][0] for p in rows.values()], dtype=np.float64)
        times = np.array([len(p) for p in rows.values()], dtype=np.int64)
        return Measured(weights.reshape(len(rows), self.n_weights), rewards, errors, times)

    def _check_asked(self, keys: list[Key], rows: Array) -> None:
        left = set(self._pending)
        for i, name in enumerate(keys):
            if name not in left:
                distance = [(float(np.abs(np.array(k) - rows[i]).max()), w.tolist()) for k, w in self._pending.items()]
                near = f"; the nearest that wait are {min(distance)[1]}" if distance else ""
                raise InputError(
                    f"row {i} of the weights, {rows[i].tolist()}, was not asked or was told already{near}. "
                    "Say unasked=True for results of your own"
                )
            left.remove(name)


def key(weights: Array) -> Key:
    """Weights as something to look up: equal for all that agree to 9 digits."""
    return tuple((np.round(weights, DIGITS) + 0.0).tolist())  # + 0.0: -0.0 is the same weight


def read_state(document: Mapping[str, Any] | str) -> dict[str, Any]:
    """The fields of a saved explorer, once they are all there.

    Raises:
        InputError: it is none.
    """
    try:
        state = json.loads(document) if isinstance(document, str) else dict(document)
    except ValueError as error:
        raise InputError(f"the explorer's state is not JSON: {error}") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        found = state.get("schema") if isinstance(state, dict) else type(state).__name__
        raise InputError(f"field schema must be {SCHEMA!r}, found {found!r}")
    if state.pop("schema_version", None) != SCHEMA_VERSION:
        raise InputError(f"field schema_version must be {SCHEMA_VERSION}; a newer state needs a newer frontier")
    del state["schema"]
    check_fields(state, ("kind", "settings", "told", "pending"))
    return state


def _combined(values: Array, errors: Array) -> tuple[Array, Array]:
    """`[n, K]` measurements to their `[K]` mean and its standard error: weighted by precision, evenly where an error is 0."""
    if len(values) == 1:
        return values[0], errors[0]
    exact = (errors == 0).any(axis=0)
    precision = np.where(exact, 1.0, 1 / np.where(exact, 1.0, errors) ** 2)
    total = precision.sum(axis=0)
    return (precision * values).sum(axis=0) / total, np.where(exact, 0.0, 1 / np.sqrt(total))


def growth(grown: float, now: float) -> float:
    """The share by which a hypervolume grows; 0 where rewards are so large and so equal that rounding leaves neither a volume."""
    if grown <= now:
        return 0.0
    return grown / now - 1 if now > 0 else float("inf")


def at_least_0(name: str, value: Any) -> float:
    """The value as a `float`; what is no number, infinite or below 0 is refused, naming the setting."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < float("inf"):
        raise InputError(f"{name} must be finite and at least 0, found {value!r}")
    return float(value)
