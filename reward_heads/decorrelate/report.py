"""What a decorrelation achieved, on the texts that it was fitted on and on others, and what it cost."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from reward_heads.decorrelate.rank_correlation import spearman, standard_error
from reward_heads.decorrelate.texts import ComparedTexts

# A rank correlation of two texts is 1 or -1 whatever they are.
_FEWEST = 3


@dataclass(frozen=True)
class Measured:
    """K numbers of one set of texts, in the order of the objectives.

    Args:
        n (`int`): texts.
        before (`tuple[float, ...]`), after (`tuple[float, ...]`): Spearman's correlation with what is taken out; NaN where fewer than 3 texts have both.
        accuracy_before (`tuple[float, ...]`), accuracy_after (`tuple[float, ...]`): pairs ranked as labelled; NaN without labels.
        comparisons (`tuple[int, ...]`): labelled pairs.
    """

    n: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    accuracy_before: tuple[float, ...]
    accuracy_after: tuple[float, ...]
    comparisons: tuple[int, ...]


@dataclass(frozen=True)
class DecorrelationReport:
    """The outcome of [`fit_decorrelation`] or [`erase_length`].

    Args:
        objectives (`tuple[str, ...]`): K names.
        against (`str`): what was taken out.
        threshold (`float`): for the absolute correlation.
        aim (`float`): what was aimed at on the fitted texts; below the threshold, because other texts differ.
        strengths (`tuple[float, ...]`): K; the penalty λ, or by how much more is subtracted at the 90 % quantile of length than at the 10 % quantile; 0 = left as it was.
        corrected (`tuple[bool, ...]`): K; whether it was to be corrected, be it by 0.
        fitted (`Measured`): on the texts that it was fitted on.
        held_out (`Measured`): on texts of other prompts.
    """

    objectives: tuple[str, ...]
    against: str
    threshold: float
    aim: float
    strengths: tuple[float, ...]
    corrected: tuple[bool, ...]
    fitted: Measured
    held_out: Measured

    @property
    def holds(self) -> bool:
        """Whether every objective that is corrected stays within the threshold on held-out texts; no where that can't be measured."""
        changed = [after for after, meant in zip(self.held_out.after, self.corrected, strict=True) if meant]
        return all(abs(after) <= self.threshold for after in changed)

    def table(self) -> str:
        """For people: correlations and accuracy before and after."""
        width = max(map(len, (*self.objectives, "objective")))
        held = self.held_out
        lines = [
            f"Spearman with {self.against}, threshold {self.threshold:g}, {held.n} held-out texts (chance moves it by ±{1.96 * standard_error(held.n):.3f})",
            f"{'objective':<{width}}  strength   before    after  accuracy before    after",
        ]
        for k, name in enumerate(self.objectives):
            lines.append(
                f"{name:<{width}}  {self.strengths[k]:8.3f}  {held.before[k]:+7.3f}  {held.after[k]:+7.3f}"
                f"  {held.accuracy_before[k]:15.3f}  {held.accuracy_after[k]:7.3f}"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `json.dump`; what is not known is `None`."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def measure(texts: ComparedTexts, before: Tensor, after: Tensor, against: Tensor) -> Measured:
    """Compare scores before and after.

    Args:
        texts (`ComparedTexts`): N texts.
        before (`Tensor`): `[N, K]`.
        after (`Tensor`): `[N, K]`.
        against (`Tensor`): `[N]`, what was taken out.
    """
    correlations = [tuple(_correlation(column.double(), against) for column in scores.T) for scores in (before, after)]
    was, now = (texts.accuracy(scores.float()) for scores in (before, after))
    return Measured(
        n=len(against),
        before=correlations[0],
        after=correlations[1],
        accuracy_before=tuple(found.accuracy for found in was),
        accuracy_after=tuple(found.accuracy for found in now),
        comparisons=tuple(found.n for found in was),
    )


def _correlation(scores: Tensor, against: Tensor) -> float:
    known = ~(scores.isnan() | against.isnan())
    return spearman(scores, against) if known.sum() >= _FEWEST else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not torch.tensor(value).isfinite() else value
