"""Whether a gate was worth it: the same held-out rows with and without it."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name


@dataclass(frozen=True)
class GateReport:
    """How a gate came about and what it does on prompts that neither taught it nor told it when to stop.

    Args:
        objectives (`tuple[str, ...]`): K names.
        fitted_on (`str`): `"pairs"` or `"responses"`.
        n_train (`int`), n_stopping (`int`), n_judged (`int`): rows learned from, that chose the update, and that judge.
        left_out (`int`): rows without a label, or with a reward that is not known.
        update (`int`): the one that was kept; 0 = the constant weights that training starts from.
        constant (`tuple[float, ...]`): K weights that don't look at the prompt, fitted to the same rows.
        mean (`tuple[float, ...]`): K weights of the gate, averaged over the judging rows.
        spread (`tuple[float, ...]`): their standard deviations: 0 = the gate doesn't look at the prompt either.
        loss (`Mapping[str, float]`): in nats per row, of `"gate"`, `"constant"` and `"uniform"` weights: Bradley-Terry loss on pairs, KL(target ‖ weights) on responses. NaN where no row
            judges.
        accuracy (`Mapping[str, float]`): share of the judging pairs ordered rightly; empty on responses.
        gain (`float`): loss of the constant weights minus that of the gate.
        gain_error (`float`): its standard error; rows of one prompt count as one observation.
    """

    objectives: tuple[str, ...]
    fitted_on: str
    n_train: int
    n_stopping: int
    n_judged: int
    left_out: int
    update: int
    constant: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    loss: Mapping[str, float]
    accuracy: Mapping[str, float]
    gain: float
    gain_error: float

    @property
    def helps(self) -> bool:
        """Whether the gate beats constant weights by more than chance explains (one-sided, 95 %)."""
        return self.gain > 1.645 * self.gain_error

    def table(self) -> str:
        """For a terminal."""
        lines = [f"{'objective':<24}{'constant':>10}{'gate':>10}{'±':>8}"]
        for name, *values in zip(self.objectives, self.constant, self.mean, self.spread, strict=True):
            lines.append(f"{name:<24}{values[0]:>10.3f}{values[1]:>10.3f}{values[2]:>8.3f}")
        lines.append(f"{self.n_judged} held-out {self.fitted_on}:")
        for name, loss in self.loss.items():
            accuracy = f", accuracy {self.accuracy[name]:.3f}" if name in self.accuracy else ""
            lines.append(f"  {name:<10} {loss:.4f} nats{accuracy}")
        verdict = "helps" if self.helps else "no difference that the data can show"
        lines.append(f"  gain {self.gain:+.4f} ± {self.gain_error:.4f} nats: {verdict}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`GateReport.from_json`] reads it back."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "GateReport":
        """Read what [`GateReport.to_json`] wrote.

        Raises:
            InputError: a field is missing or unknown.
        """
        names = [field.name for field in fields(cls)]
        for name in data:
            if name not in names:
                raise unknown_name("field of a gate's report", name, names)
        for name in names:
            if name not in data:
                raise InputError(f"gate's report: field '{name}' is missing; it needs {', '.join(names)}")
        return cls(**{name: _unplain(value) for name, value in data.items()})


def mean_and_error(values: Tensor, groups: Sequence[Hashable]) -> tuple[float, float]:
    """Mean of `[N]` values and its standard error, where values of one group are not independent; NaN if there is none, inf if there is one group."""
    if not len(values):
        return math.nan, math.nan
    mean = float(values.double().mean())
    place: dict[Hashable, int] = {}
    at = torch.tensor([place.setdefault(group, len(place)) for group in groups])
    if len(place) < 2:
        return mean, math.inf
    sums = torch.zeros(len(place), dtype=torch.float64).index_add_(0, at, values.double() - mean)
    return mean, float(sums.square().sum().sqrt()) / len(values) * math.sqrt(len(place) / (len(place) - 1))


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are written as null and "inf"."""
    if isinstance(value, float):
        return None if math.isnan(value) else "inf" if math.isinf(value) else value
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _unplain(value: Any) -> Any:
    if value is None:
        return math.nan
    if value == "inf":
        return math.inf
    if isinstance(value, Mapping):
        return {name: _unplain(each) for name, each in value.items()}
    return tuple(_unplain(each) for each in value) if isinstance(value, list) else value
