"""Bring rewards to a common scale, so that a weight of 0.5 means the same for every objective, and remember which scale it was."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.text import Text
from reward_heads.vector_reward import VectorReward, score_checked

_FIELDS = ("objectives", "location", "scale", "n", "source")


@dataclass(frozen=True)
class Normalizer:
    """Per-objective location and scale: `normalised = (score − location) / scale`.

    Args:
        objectives (`tuple[str, ...]`): K names.
        location (`tuple[float, ...]`): K means, in the units of the rewards.
        scale (`tuple[float, ...]`): K standard deviations, positive, in the units of the rewards.
        n (`int`): how many completions they were measured on.
        source (`str`): on what they were measured, for a reader: "reference policy on 256 prompts of prompts.jsonl".

    Raises:
        InputError: lengths differ, a value is not finite, a scale is not positive, or a name is bad.
    """

    objectives: tuple[str, ...]
    location: tuple[float, ...]
    scale: tuple[float, ...]
    n: int
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "objectives", check_objectives(self.objectives))
        for field in ("location", "scale"):
            values = tuple(float(value) for value in getattr(self, field))
            object.__setattr__(self, field, values)
            if len(values) != len(self.objectives):
                raise InputError(f"normalizer: {field} has {len(values)} values for {len(self.objectives)} objectives")
            for name, value in zip(self.objectives, values, strict=True):
                if not math.isfinite(value) or (field == "scale" and value <= 0):
                    allowed = "positive and finite" if field == "scale" else "finite"
                    raise InputError(f"normalizer: the {field} of objective '{name}' must be {allowed}, found {value}")
        if self.n < 0:
            raise InputError(f"normalizer: n must not be negative, found {self.n}")

    @classmethod
    def from_scores(cls, scores: Tensor, objectives: Sequence[str], source: str = "") -> "Normalizer":
        """Measure mean and (n − 1) standard deviation of each column; NaN is left out.

        Args:
            scores (`Tensor`): `[N, K]`.
            objectives (`Sequence[str]`): K names.
            source (`str`, *optional*): what the scores come from.

        Raises:
            InputError: an objective is constant or has fewer than two known scores, so that it has no scale; or the shape is wrong.
        """
        names = check_objectives(objectives)
        if scores.dim() != 2 or scores.shape[1] != len(names):
            raise InputError(f"scores must be [N, {len(names)}] for {', '.join(names)}, found {list(scores.shape)}")
        columns = scores.detach().to("cpu", torch.float64)
        location, scale = [], []
        for name, column in zip(names, columns.T, strict=True):
            known = column[~column.isnan()]
            if len(known) < 2:
                raise InputError(
                    f"objective '{name}' has {len(known)} known scores: at least 2 are needed to measure its scale"
                )
            mean, deviation = known.mean().item(), known.std().item()
            # float32 scores of one value carry rounding noise of this relative size; it must not be blown up to 1.
            if deviation <= 1e-7 * abs(mean) or deviation == 0:
                raise InputError(
                    f"objective '{name}' is {mean:g} in all {len(known)} scores: a constant has no scale to normalise by"
                )
            location.append(mean)
            scale.append(deviation)
        return cls(names, tuple(location), tuple(scale), len(columns), source)

    def __call__(self, scores: Tensor) -> Tensor:
        """`[..., K]` scores in reward units to `[..., K]` normalised; NaN stays NaN."""
        location, scale = self._parameters(scores)
        return (scores - location) / scale

    def inverse(self, scores: Tensor) -> Tensor:
        """`[..., K]` normalised scores back to reward units; NaN stays NaN."""
        location, scale = self._parameters(scores)
        return scores * scale + location

    def select(self, objectives: Sequence[str]) -> "Normalizer":
        """The normalizer of these objectives, in this order.

        Raises:
            InputError: a name that it does not have.
        """
        for name in objectives:
            if name not in self.objectives:
                raise unknown_name("objective of the normalizer", name, self.objectives)
        at = [self.objectives.index(name) for name in objectives]
        location, scale = tuple(self.location[k] for k in at), tuple(self.scale[k] for k in at)
        return Normalizer(tuple(objectives), location, scale, self.n, self.source)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; [`Normalizer.from_json`] reads it back exactly."""
        return {
            "objectives": list(self.objectives),
            "location": list(self.location),
            "scale": list(self.scale),
            "n": self.n,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Normalizer":
        """Read what [`Normalizer.to_json`] wrote.

        Raises:
            InputError: a field is missing, unknown or wrong.
        """
        for field in data:
            if field not in _FIELDS:
                raise unknown_name("field of a normalizer", field, _FIELDS)
        for field in _FIELDS[:-1]:
            if field not in data:
                raise InputError(f"normalizer: field '{field}' is missing; it needs {', '.join(_FIELDS)}")
        return cls(
            objectives=tuple(data["objectives"]),
            location=tuple(data["location"]),
            scale=tuple(data["scale"]),
            n=int(data["n"]),
            source=str(data.get("source", "")),
        )

    def _parameters(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        if scores.shape[-1] != len(self.objectives):
            raise InputError(
                f"scores must end in {len(self.objectives)} objectives ({', '.join(self.objectives)}), found {list(scores.shape)}"
            )
        return scores.new_tensor(self.location), scores.new_tensor(self.scale)


class NormalizedReward:
    """A reward on the scale of a normalizer: mean 0 and standard deviation 1 on what the normalizer was measured on.

    Args:
        reward (`VectorReward`): in its own units.
        normalizer (`Normalizer`): must know every objective of `reward`; their order may differ.

    Raises:
        InputError: the normalizer lacks an objective.
    """

    def __init__(self, reward: VectorReward, normalizer: Normalizer) -> None:
        self.reward = reward
        self.normalizer = normalizer.select(reward.objectives)
        self.objectives = tuple(reward.objectives)

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[B, K]` float32 in normalised units; see [`VectorReward.score`]."""
        return self.normalizer(score_checked(self.reward, prompts, completions))
