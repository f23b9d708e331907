"""Look at a reward from every side at once, in the units that it was trained in, ready for a page."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import Any

import numpy as np
import torch

from frontier.errors import InputError
from reward_heads.diagnose import DisagreementReport, disagreement_report
from reward_heads.diagnose.everything import Diagnosis, diagnose
from reward_heads.diagnose.intervals import DEFAULT, Resampling
from reward_heads.diagnose.report import Report
from reward_heads.diagnose.scored import ScoredRows, score_rows
from reward_heads.normalizer import Normalizer
from reward_heads.transforms import TransformedReward
from reward_heads.vector_reward import VectorReward


@dataclass(frozen=True)
class RewardReport(Report):
    """What held-out rows say of a reward.

    Args:
        name (`str`): of the reward, for a reader.
        unknown (`dict[str, int]`): objective to the number of texts that it could not score.
        diagnosis (`Diagnosis`): everything else.
    """

    name: str
    unknown: dict[str, int]
    diagnosis: Diagnosis

    def table(self) -> str:
        """All figures for a terminal; the rows to read are on the page."""
        found = self.diagnosis
        lost = {name: n for name, n in self.unknown.items() if n}
        why = (
            {"not scored": ", ".join(f"{name} {n} of {found.n_texts} texts" for name, n in lost.items())}
            if lost
            else {}
        )
        nothing_to_read = DisagreementReport((), (), found.disagreement.conflict_share)
        return replace(found, disagreement=nothing_to_read, left_out=found.left_out | why).table()


def evaluate_reward(
    reward: VectorReward,
    rows: Iterable[Mapping[str, Any]],
    *,
    name: str = "",
    binary: Collection[str] = (),
    top: int = 20,
    how: Resampling = DEFAULT,
) -> RewardReport:
    """Score labelled rows once and measure everything on them.

    Ratings of a reward that remembers their location and scale (`units`) are standardised by them first: squared errors are then in units of their variance.

    Args:
        reward (`VectorReward`): K objectives; labels of others are ignored.
        rows (`Iterable[Mapping]`): pairs and ratings that the reward was not trained on; a `document` tells which prompts hang together, a `user` who labelled.
        name (`str`, *optional*): of the reward, for a reader.
        binary (`Collection[str]`, *optional*): objectives whose ratings are flags.
        top (`int`, *optional*, defaults to 20): how many rows of each kind of disagreement are kept.
        how (`Resampling`, *optional*): of the intervals.

    Raises:
        InputError: there is no row, a row is broken, or no row labels an objective of the reward.
    """
    scored = score_rows(reward, rows)
    if np.isnan(scored.labels).all() and np.isnan(scored.ratings).all():
        raise InputError(
            f"no row has a label for any of the reward's objectives {', '.join(scored.objectives)}: there is nothing to hold it against"
        )
    units = units_of(reward)
    if units is not None:
        scored = replace(scored, ratings=units(torch.from_numpy(scored.ratings)).numpy())
    found = diagnose(scored, binary=binary, top=top, how=how)
    if not found.n_pairs:
        # Where nobody compared, heads can still disagree; what people were surprised by is in the ratings as before.
        conflicts = disagreement_report(with_rated_pairs(scored), top=top)
        found = replace(found, disagreement=replace(conflicts, surprises=found.disagreement.surprises))
    missing = dict(zip(scored.objectives, np.isnan(scored.scores).sum(axis=0).tolist(), strict=True))
    return RewardReport(name, missing, found)


def with_rated_pairs(scored: ScoredRows, most: int = 20_000) -> ScoredRows:
    """The same rows, with every two rated completions of one prompt as an unlabelled pair: where nobody compared, heads can still disagree.

    Args:
        scored (`ScoredRows`): without labelled pairs.
        most (`int`, *optional*, defaults to 20000): pairs at most, the first ones.
    """
    first_row: dict[int, int] = {}
    for text, row in zip(scored.text.tolist(), scored.rating_rows, strict=True):
        first_row.setdefault(text, row)
    by_prompt: dict[int, list[int]] = {}
    for text in first_row:
        by_prompt.setdefault(int(scored.prompt_of[text]), []).append(text)
    pairs = list(islice((pair for group in by_prompt.values() for pair in combinations(group, 2)), most))
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return replace(
        scored,
        a=a,
        b=b,
        labels=np.full((len(pairs), len(scored.objectives)), np.nan),
        pair_users=(None,) * len(pairs),
        pair_rows=tuple(first_row[text] for text in a.tolist()),
    )


def units_of(reward: VectorReward) -> Normalizer | None:
    """Location and scale of the ratings that a reward was trained on, where its scores are in standard deviations of them; `None` where they are ratings already."""
    inner = reward.reward if isinstance(reward, TransformedReward) else reward
    if isinstance(reward, TransformedReward) and any(t.kind == "calibration" for t in reward.transforms):
        return None  # a calibrated score is in the ratings' own units
    units = getattr(inner, "units", None)
    return units if isinstance(units, Normalizer) else None
