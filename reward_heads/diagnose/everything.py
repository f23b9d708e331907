"""Everything that labelled rows say about a reward, in one report."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from frontier.errors import InputError
from reward_heads.calibrate.ece import CalibrationError
from reward_heads.calibrate.fit import calibration_errors
from reward_heads.diagnose.accuracy import AccuracyReport, accuracy_report
from reward_heads.diagnose.agreement import AgreementReport, agreement_report
from reward_heads.diagnose.correlation import CorrelationReport, correlation_report, reliability_of_flips
from reward_heads.diagnose.disagreement import DisagreementReport, disagreement_report
from reward_heads.diagnose.intervals import DEFAULT, Resampling
from reward_heads.diagnose.intransitivity import Intransitivity, cycle_report
from reward_heads.diagnose.noise import NoiseReport, noise_of
from reward_heads.diagnose.report import Report, text_table
from reward_heads.diagnose.scored import ScoredRows, score_rows
from reward_heads.vector_reward import VectorReward

T = TypeVar("T")


@dataclass(frozen=True)
class Diagnosis(Report):
    """What [`diagnose`] found; a part that the rows can't tell is `None` or empty, with the reason in `left_out`.

    Args:
        objectives (`tuple[str, ...]`): K names.
        n_pairs, n_ratings, n_texts (`int`): rows of either kind, and distinct completions.
        accuracy (`AccuracyReport`): per objective, with intervals.
        calibration (`tuple[CalibrationError, ...]`): of the scores as they stand.
        correlation (`CorrelationReport`): between heads.
        disagreement (`DisagreementReport`): rows to read.
        noise (`NoiseReport`, *optional*): flip rates of labels.
        agreement (`tuple[AgreementReport, ...]`): between annotators, where rows have a `user` or `rater`.
        intransitivity (`tuple[Intransitivity, ...]`): where three completions of a prompt are compared with each other.
        left_out (`dict[str, str]`): part to reason.
    """

    objectives: tuple[str, ...]
    n_pairs: int
    n_ratings: int
    n_texts: int
    accuracy: AccuracyReport
    calibration: tuple[CalibrationError, ...]
    correlation: CorrelationReport
    disagreement: DisagreementReport
    noise: NoiseReport | None
    agreement: tuple[AgreementReport, ...]
    intransitivity: tuple[Intransitivity, ...]
    left_out: dict[str, str]

    def table(self) -> str:
        """All parts, one after the other."""
        errors = [[f"{e.objective} ({e.kind})", e.ece, str(e.debiased), e.n] for e in self.calibration]
        parts: list[tuple[str, str]] = [("Accuracy", str(self.accuracy))]
        if errors:
            parts.append(("Calibration", text_table(["objective", "ECE", "debiased", "n"], errors)))
        parts.append(("Correlation", str(self.correlation)))
        parts += [("Label noise", str(self.noise))] if self.noise is not None else []
        parts += [("Annotators", "\n\n".join(map(str, self.agreement)))] if self.agreement else []
        parts += [("Cycles", "\n".join(map(str, self.intransitivity)))] if self.intransitivity else []
        parts.append(("Disagreement", str(self.disagreement)))
        parts += (
            [("Left out", "\n".join(f"{what}: {why}" for what, why in self.left_out.items()))] if self.left_out else []
        )
        return "\n\n".join(f"{title}\n{'=' * len(title)}\n{text}" for title, text in parts)


def diagnose(
    reward: VectorReward | ScoredRows,
    rows: Iterable[Mapping[str, Any]] = (),
    *,
    binary: Collection[str] = (),
    in_nats: Collection[str] = (),
    top: int = 20,
    how: Resampling = DEFAULT,
) -> Diagnosis:
    """Score rows once and look at them from every side.

    Args:
        reward (`VectorReward` or `ScoredRows`): what to judge, or rows that are scored already.
        rows (`Iterable[Mapping]`): pairs and ratings that it was not trained on, see [`score_rows`].
        binary (`Collection[str]`, *optional*): objectives whose ratings are flags.
        in_nats (`Collection[str]`, *optional*): other objectives whose scores are not in the units of their ratings, such as heads with a temperature: no squared error and no
            calibration error against ratings is given for them.
        top (`int`, *optional*, defaults to 20): how many rows to read per list.
        how (`Resampling`, *optional*): of all intervals.

    Raises:
        InputError: there is no row, a row is broken, or `binary` or `in_nats` names an unknown objective.
    """
    scored = reward if isinstance(reward, ScoredRows) else score_rows(reward, rows)
    for name in (*binary, *in_nats):
        scored.index(name)
    left_out: dict[str, str] = {}
    compared = [name for k, name in enumerate(scored.objectives) if not np.isnan(scored.labels[:, k]).all()]
    noise = _noise(scored, compared, left_out, how)
    reliability = None if noise is None else {name: reliability_of_flips(rate) for name, rate in noise.rates().items()}
    circles = [
        _unless_refused(f"cycles of {name}", left_out, partial(cycle_report, scored, name, how=how))
        for name in compared
    ]
    told = any(user is not None for user in (*scored.pair_users, *scored.rating_users))
    return Diagnosis(
        objectives=scored.objectives,
        n_pairs=len(scored.a),
        n_ratings=len(scored.text),
        n_texts=len(scored.scores),
        accuracy=accuracy_report(scored, how, in_nats={*binary, *in_nats}),
        calibration=calibration_errors(scored, binary=binary, in_nats=in_nats, how=how),
        correlation=correlation_report(scored, reliability=reliability, how=how),
        disagreement=disagreement_report(scored, top=top),
        noise=noise,
        agreement=tuple(agreement_report(scored, name, how=how) for name in scored.objectives) if told else (),
        intransitivity=tuple(found for found in circles if found is not None),
        left_out=left_out,
    )


def _noise(
    scored: ScoredRows, compared: Sequence[str], left_out: dict[str, str], how: Resampling
) -> NoiseReport | None:
    if not compared:
        left_out["noise"] = "label noise is estimated from labelled pairs, and there are none"
        return None
    found = [
        _unless_refused(f"noise of {name}", left_out, partial(noise_of, scored, name, how=how)) for name in compared
    ]
    known = tuple(one for one in found if one is not None)
    return NoiseReport(known) if known else None


def _unless_refused(what: str, left_out: dict[str, str], make: Callable[[], T]) -> T | None:
    try:
        return make()
    except InputError as error:  # rows that can't tell one thing may tell the others; the reason is in the report
        left_out[what] = str(error)
        return None
