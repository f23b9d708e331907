"""Look at a reward from every side at once, in the units that it was trained in, ready for a page."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from frontier.errors import InputError
from reward_heads.calibrate.units import units_of
from reward_heads.diagnose import DisagreementReport, disagreement_report
from reward_heads.diagnose.everything import Diagnosis, diagnose
from reward_heads.diagnose.intervals import DEFAULT, Resampling
from reward_heads.diagnose.report import Report
from reward_heads.diagnose.scored import ScoredRows, pairs_within, score_rows
from reward_heads.vector_reward import VectorReward

_NO_LOG_ODDS = (
    "its flags were learned as quantities, so the scores are no log-odds and σ(s) no probability: train it sign_aware, or calibrate it with platt; "
    "the flags are compared as they are"
)


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

    Ratings of a reward that remembers their location and scale (`units`) are standardised by them first, objective by objective: squared errors are then in units of their variance.
    Not standardised are flags, and objectives that a calibration has brought to ratings; for one that a temperature has brought to nats there is no error against ratings.

    Args:
        reward (`VectorReward`): K objectives; labels of others are ignored.
        rows (`Iterable[Mapping]`): pairs and ratings that the reward was not trained on; a `document` tells which prompts hang together, a `user` who labelled.
        name (`str`, *optional*): of the reward, for a reader.
        binary (`Collection[str]`, *optional*): objectives whose ratings are flags.
        top (`int`, *optional*, defaults to 20): how many rows of each kind of disagreement are kept.
        how (`Resampling`, *optional*): of the intervals.

    Raises:
        InputError: there is no row, a row is broken, no row labels an objective of the reward, or `binary` names none of them.
    """
    scored = score_rows(reward, rows)
    for flag in binary:
        scored.index(flag)
    if np.isnan(scored.labels).all() and np.isnan(scored.ratings).all():
        raise InputError(
            f"no row has a label for any of the reward's objectives {', '.join(scored.objectives)}: there is nothing to hold it against"
        )
    units = units_of(reward)
    scored = replace(scored, ratings=units.as_they_are(*binary).of_ratings(scored.ratings))
    found = diagnose(scored, binary=binary, in_nats=units.in_nats, top=top, how=how)
    quantities = {f"log-odds of {flag}": _NO_LOG_ODDS for flag in binary if units.is_standardised(flag)}
    found = replace(found, left_out=found.left_out | quantities)
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
        most (`int`, *optional*, defaults to 20000): pairs at most; of more, a random sample, always the same.
    """
    first_row: dict[int, int] = {}
    for text, row in zip(scored.text.tolist(), scored.rating_rows, strict=True):
        first_row.setdefault(text, row)
    texts = np.array(list(first_row), dtype=np.int64)
    a, b = (texts[ends] for ends in pairs_within(scored.prompt_of[texts], most))
    return replace(
        scored,
        a=a,
        b=b,
        labels=np.full((len(a), len(scored.objectives)), np.nan),
        pair_users=(None,) * len(a),
        pair_rows=tuple(first_row[text] for text in a.tolist()),
    )
