"""The settings of [`fit_probe`] and [`fit_heads`]."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives

ALPHAS = tuple(10.0 ** (k / 2) for k in range(-8, 9))
"""Half-decades from 1e-4 to 1e4."""

Range = tuple[float, float]


@dataclass(frozen=True)
class ProbeConfig:
    """How linear heads on frozen embeddings are fitted.

    Args:
        objectives (`Sequence[str]`, *optional*): names and order of the heads; by default the labelled ones, as they appear.
        sign_aware (`Sequence[str]`, *optional*): objectives whose ratings are flags in [0, 1] (1 safe, 0 unsafe; between: a probability): their score is the log-odds of 1, so that the
            boundary is at 0.
        rating_range (`tuple[float, float]` or a mapping of objectives to such, *optional*): the lowest and highest rating that is allowed.
        alphas (`Sequence[float]`, *optional*): the penalties among which the held-out loss chooses, for each objective by itself. In `fit_heads`'s units, in which a row of features has
            length 1 on average.
        folds (`int`, *optional*, defaults to 5): parts of the rows, each held out once.
        group_by (`str`, *optional*): the field of a row (such as a document's name) whose rows must be in the same fold; by default its prompt.
        uncertainty (`bool`, *optional*, defaults to `True`): also keep what `score_with_uncertainty` needs: up to width² float32 per objective.

    Raises:
        InputError: a setting is out of range or names an objective that is not among `objectives`.
    """

    objectives: Sequence[str] | None = None
    sign_aware: Sequence[str] = ()
    rating_range: Range | Mapping[str, Range] | None = None
    alphas: Sequence[float] = ALPHAS
    folds: int = 5
    group_by: str | None = None
    uncertainty: bool = True

    def __post_init__(self) -> None:
        if self.objectives is not None:
            object.__setattr__(self, "objectives", check_objectives(self.objectives))
        object.__setattr__(self, "alphas", tuple(sorted(float(alpha) for alpha in self.alphas)))
        if not self.alphas or not all(math.isfinite(alpha) and alpha > 0 for alpha in self.alphas):
            raise InputError(f"alphas must be positive numbers, found {list(self.alphas)}")
        if self.folds < 2:
            raise InputError(f"folds must be at least 2, found {self.folds}")
        ranges = self.rating_range.values() if isinstance(self.rating_range, Mapping) else [self.rating_range]
        for found in ranges:
            if found is not None and not (len(found) == 2 and found[0] < found[1]):
                raise InputError(f"rating_range must be (lowest, highest), found {found!r}")
        if self.objectives is not None:
            self.check_names(self.objectives)

    def check_names(self, objectives: Sequence[str]) -> None:
        """Refuse settings for an objective that does not exist.

        Raises:
            InputError: names it, and the nearest one that does.
        """
        named = self.rating_range if isinstance(self.rating_range, Mapping) else ()
        for field, names in (("sign_aware", self.sign_aware), ("rating_range", named)):
            for name in names:
                if name not in objectives:
                    raise unknown_name(f"objective in {field}", name, objectives)

    def range_of(self, objective: str) -> Range | None:
        """The lowest and highest rating of an objective that is allowed; `None` = any. A flag is in [0, 1]."""
        if objective in self.sign_aware:
            return (0.0, 1.0)
        if isinstance(self.rating_range, Mapping):
            return self.rating_range.get(objective)
        return self.rating_range
