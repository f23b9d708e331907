"""Know in which units each score of a reward is, after all that corrected it: standard deviations of the training ratings, ratings, or nats."""

from dataclasses import dataclass, replace

import numpy as np

from reward_heads.calibrate.maps import Cooled, Identity
from reward_heads.calibrate.transform import Calibration
from reward_heads.diagnose.intervals import Floats
from reward_heads.normalizer import Normalizer
from reward_heads.transforms import TransformedReward
from reward_heads.vector_reward import VectorReward


@dataclass(frozen=True)
class ScoreUnits:
    """`score = (rating − location) / scale`, objective by objective.

    Args:
        objectives (`tuple[str, ...]`): K names.
        location, scale (`tuple[float, ...]`): of each; 0 and 1 where scores are ratings as they are, and where nothing is known.
        in_nats (`tuple[str, ...]`): objectives whose scores were cooled to nats of a preference, so that they are no ratings in any unit.
    """

    objectives: tuple[str, ...]
    location: tuple[float, ...]
    scale: tuple[float, ...]
    in_nats: tuple[str, ...] = ()

    def is_standardised(self, objective: str) -> bool:
        """Whether the scores of an objective are in other units than its ratings."""
        k = self.objectives.index(objective)
        return (self.location[k], self.scale[k]) != (0.0, 1.0)

    def as_they_are(self, *objectives: str) -> "ScoreUnits":
        """The same, but with the scores of these objectives taken for ratings."""
        location = tuple(0.0 if n in objectives else v for n, v in zip(self.objectives, self.location, strict=True))
        scale = tuple(1.0 if n in objectives else v for n, v in zip(self.objectives, self.scale, strict=True))
        return replace(self, location=location, scale=scale)

    def of_ratings(self, ratings: Floats) -> Floats:
        """`[..., K]` ratings in the units of the scores; NaN stays NaN."""
        return (ratings - np.array(self.location)) / np.array(self.scale)

    def to_ratings(self, objective: str, scores: Floats) -> Floats:
        """Scores of one objective in the units of its ratings; NaN stays NaN."""
        k = self.objectives.index(objective)
        return scores * self.scale[k] + self.location[k]


def units_of(reward: VectorReward) -> ScoreUnits:
    """The units of a reward's scores: the `units` that it was trained with, except where a calibration has changed them.

    A line or a curve makes ratings of scores (or log-odds of flags), a temperature makes nats; an objective that the calibration left as it was keeps its units.

    Args:
        reward (`VectorReward`): with or without transforms.
    """
    names = tuple(reward.objectives)
    inner, transforms = (reward.reward, reward.transforms) if isinstance(reward, TransformedReward) else (reward, ())
    trained = getattr(inner, "units", None)
    found = ScoreUnits(names, (0.0,) * len(names), (1.0,) * len(names))
    if isinstance(trained, Normalizer):
        trained = trained.select(names)
        found = ScoreUnits(names, trained.location, trained.scale)
    cooled: set[str] = set()
    for transform in transforms:
        if not isinstance(transform, Calibration):
            continue
        for name, a_map in zip(transform.objectives, transform.maps, strict=True):
            if isinstance(a_map, Identity):
                continue
            found = found.as_they_are(name)
            (cooled.add if isinstance(a_map, Cooled) else cooled.discard)(name)
    return replace(found, in_nats=tuple(name for name in names if name in cooled))
