"""Calibrate a reward on held-out rows, and say what it gained on rows that the fit did not see."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from frontier.errors import InputError, unknown_name
from reward_heads.calibrate.ece import (
    CalibrationError,
    binary_calibration_error,
    pair_calibration_error,
    rating_calibration_error,
)
from reward_heads.calibrate.isotonic import Isotonic, collapsed, fit_isotonic
from reward_heads.calibrate.maps import Affine, Cooled, Identity, ScoreMap, fit_line
from reward_heads.calibrate.platt import fit_platt
from reward_heads.calibrate.temperature import fit_temperature
from reward_heads.calibrate.transform import Calibration
from reward_heads.calibrate.units import ScoreUnits, units_of
from reward_heads.diagnose.intervals import DEFAULT, Floats, Ints, Resampling, cluster_ids
from reward_heads.diagnose.report import Report, number, text_table
from reward_heads.diagnose.scored import ScoredRows, score_rows
from reward_heads.transforms import TransformedReward
from reward_heads.vector_reward import VectorReward

METHODS = ("auto", "temperature", "platt", "line", "isotonic", "none")
_KIND = {"temperature": "pairs", "platt": "binary", "line": "ratings", "isotonic": "ratings"}


@dataclass(frozen=True)
class ObjectiveCalibration:
    """What calibration did to one objective.

    Args:
        objective (`str`): the head.
        method (`str`): `"temperature"`, `"platt"`, `"line"`, `"isotonic"` or `"none"`.
        found (`str`): the fitted parameters, for a reader.
        nats_per_unit (`float`, *optional*): Bradley-Terry nats in one unit of the old score, where pairs tell; 1 / temperature.
        standard_error (`float`, *optional*): of the temperature, over clusters.
        before (`CalibrationError`, *optional*): of the scores as they were; against ratings, of the ratings that they stand for where the reward remembers location and scale of
            those it was trained on. `None` where scores in nats stand for no rating.
        after (`CalibrationError`, *optional*): of each row calibrated by a fit to the rows of other prompts; `None` where there are too few.
        distinct (`int`), collapsed (`int`): different scores among the rows, and how many of them the map makes equal to another.
        note (`str`): what to know.
    """

    objective: str
    method: str
    found: str
    nats_per_unit: float | None = None
    standard_error: float | None = None
    before: CalibrationError | None = None
    after: CalibrationError | None = None
    distinct: int = 0
    collapsed: int = 0
    note: str = ""


@dataclass(frozen=True)
class CalibrationReport(Report):
    """What [`calibrate`] did.

    Args:
        objectives (`tuple[ObjectiveCalibration, ...]`): one for each head.
        folds (`int`): that `after` was measured with.
    """

    objectives: tuple[ObjectiveCalibration, ...]
    folds: int

    def table(self) -> str:
        """One line per objective, then the notes."""
        head = ["objective", "method", "found", "ECE before", "after", "ties made", "n"]
        rows = [
            [
                o.objective,
                o.method,
                o.found,
                _ece(o.before),
                _ece(o.after),
                f"{o.collapsed}/{o.distinct}",
                _n(o.before or o.after),
            ]
            for o in self.objectives
        ]
        notes = [f"{o.objective}: {o.note}" for o in self.objectives if o.note]
        return "\n".join([text_table(head, rows), *notes])


def _ece(error: CalibrationError | None) -> str:
    return "–" if error is None else f"{number(error.ece)} ({number(error.debiased.value)} debiased)"


def _n(error: CalibrationError | None) -> str:
    return "0" if error is None else str(error.n)


def calibrate(
    reward: VectorReward,
    rows: Iterable[Mapping[str, Any]],
    *,
    method: str | Mapping[str, str] = "auto",
    binary: Collection[str] = (),
    strictness: float = 0.05,
    folds: int = 5,
    bins: int = 10,
    how: Resampling = DEFAULT,
    source: str = "",
) -> tuple[TransformedReward, CalibrationReport]:
    """Fit one increasing map per objective, none of which changes a ranking (but see `strictness`).

    Args:
        reward (`VectorReward`): K objectives.
        rows (`Iterable[Mapping]`): pairs and ratings that the reward was *not* trained on; a `document` tells which prompts hang together.
        method (`str` or `Mapping[str, str]`, *optional*, defaults to `"auto"`): one for all, or by objective. `"temperature"` (pairs, to nats), `"platt"` (flags, to log-odds), `"line"` and
            `"isotonic"` (to ratings), `"none"`. Auto: platt for `binary` objectives, temperature where there are pairs, else the line where there are ratings, else none;
            an objective that can't be calibrated so is left as it was, with the reason in its note.
        binary (`Collection[str]`, *optional*): objectives whose ratings are flags (`sign_aware` in training).
        strictness (`float`, *optional*, defaults to 0.05): share of the line in `"isotonic"`; 0 lets it tie scores.
        folds (`int`, *optional*, defaults to 5): of documents (or prompts), to measure `after` on rows that were not fitted to.
        bins (`int`, *optional*, defaults to 10): of the calibration error.
        how (`Resampling`, *optional*): of intervals.
        source (`str`, *optional*): on what it is fitted, kept in the transform.

    Returns:
        the calibrated reward, which `save_reward` writes and `load_reward` reads, and the report.

    Raises:
        InputError: a row is broken, a name or a method is unknown, or an objective can't be calibrated by the method that was asked for (not by auto): no labels of
            the kind that it needs, labels that oppose it, or labels that follow it without exception.
    """
    scored = score_rows(reward, rows)
    for name in [*binary, *(method if isinstance(method, Mapping) else ())]:
        scored.index(name)
    if folds < 2:
        raise InputError(f"folds must be at least 2, found {folds}")
    units = units_of(reward)
    maps, parts = [], []
    for k, name in enumerate(scored.objectives):
        asked = method if isinstance(method, str) else method.get(name, "auto")
        chosen = _method(scored, k, asked, name in binary)
        a_map, part = _calibrate(scored, k, chosen, asked == "auto", units, strictness, folds, bins, how)
        maps.append(a_map)
        parts.append(part)
    transform = Calibration(scored.objectives, tuple(maps), source)
    return TransformedReward(reward, [transform]), CalibrationReport(tuple(parts), folds)


def calibration_errors(
    scored: ScoredRows,
    *,
    binary: Collection[str] = (),
    in_nats: Collection[str] = (),
    bins: int = 10,
    binning: str = "mass",
    how: Resampling = DEFAULT,
) -> tuple[CalibrationError, ...]:
    """Calibration error of every head that has labels, as its scores stand: σ(Δ) on pairs, σ(s) on flags, s on ratings.

    Args:
        scored (`ScoredRows`): of `score_rows`.
        binary (`Collection[str]`, *optional*): objectives whose ratings are flags.
        in_nats (`Collection[str]`, *optional*): other objectives whose scores are no ratings: left out where they are rated.
        bins (`int`, *optional*, defaults to 10): of the error.
        binning (`str`, *optional*, defaults to `"mass"`): or `"width"`.
        how (`Resampling`, *optional*): of the intervals.

    Returns:
        `tuple[CalibrationError, ...]`: in the order of the objectives; pairs before ratings where an objective has both.
    """
    found = []
    for k, name in enumerate(scored.objectives):
        for kind in ("pairs", "binary" if name in binary else "ratings"):
            scores, labels, clusters = _column(scored, k, kind)
            known = labels[~(np.isnan(labels) | np.isnan(scores))]
            # Ratings that are all alike have no unit of error, scores in nats not that of ratings.
            unit = kind != "ratings" or (name not in in_nats and len(known) and known.min() < known.max())
            if len(known) and unit:
                found.append(_measure(kind, scores, labels, clusters, name, bins, binning, how))
    return tuple(found)


def _method(scored: ScoredRows, k: int, chosen: str, is_binary: bool) -> str:
    if chosen not in METHODS:
        raise unknown_name("method of calibration", chosen, METHODS)
    if chosen != "auto":
        return chosen
    if not np.isnan(scored.ratings[:, k]).all() and is_binary:
        return "platt"
    if not np.isnan(scored.labels[:, k]).all():
        return "temperature"
    return "none" if np.isnan(scored.ratings[:, k]).all() else "line"


def _column(scored: ScoredRows, k: int, kind: str) -> tuple[Floats, Floats, Ints]:
    if kind == "pairs":
        return scored.differences[:, k], scored.labels[:, k], scored.pair_clusters
    return scored.scores[scored.text, k], scored.ratings[:, k], scored.rating_clusters


def _measure(
    kind: str, scores: Floats, labels: Floats, clusters: Ints, name: str, bins: int, binning: str, how: Resampling
) -> CalibrationError:
    settings: dict[str, Any] = {"objective": name, "bins": bins, "binning": binning, "how": how}
    if kind == "pairs":
        return pair_calibration_error(scores, labels, clusters, **settings)
    if kind == "binary":
        return binary_calibration_error(expit(scores), labels, clusters, **settings)
    return rating_calibration_error(scores, labels, clusters, **settings)


def _fit(chosen: str, scores: Floats, labels: Floats, name: str, strictness: float) -> ScoreMap:
    if chosen == "temperature":
        return Cooled(fit_temperature(scores, labels, objective=name).temperature)
    if chosen == "platt":
        return Affine(*fit_platt(scores, labels, objective=name))
    if chosen == "line":
        return fit_line(scores, labels, objective=name)
    return fit_isotonic(scores, labels, strictness=strictness, objective=name)


def _calibrate(
    scored: ScoredRows,
    k: int,
    chosen: str,
    lenient: bool,
    units: ScoreUnits,
    strictness: float,
    folds: int,
    bins: int,
    how: Resampling,
) -> tuple[ScoreMap, ObjectiveCalibration]:
    name = scored.objectives[k]
    if chosen == "none":
        return Identity(), ObjectiveCalibration(name, "none", "as it was")
    kind = _KIND[chosen]
    scores, labels, clusters = _column(scored, k, kind)

    def fit(rows: Ints) -> ScoreMap:
        return _fit(chosen, scores[rows], labels[rows], name, strictness)

    try:
        a_map = fit(np.arange(len(scores)))
    except InputError as why:
        if not lenient:
            raise
        # Nobody asked for this method: one objective that it does not suit must not keep the others from theirs.
        return Identity(), ObjectiveCalibration(name, "none", "as it was", note=f"left as it was: {why}")
    before = None
    if kind != "ratings":
        before = _measure(kind, scores, labels, clusters, name, bins, "mass", how)
    elif name not in units.in_nats:
        before = _measure(kind, units.to_ratings(name, scores), labels, clusters, name, bins, "mass", how)
    unseen, note = _out_of_fold(fit, scores, labels, clusters, folds, how.seed)
    after = None if np.isnan(unseen).all() else _measure(kind, unseen, labels, clusters, name, bins, "mass", how)
    nats = error = None
    if chosen == "temperature":
        fitted = fit_temperature(scores, labels, clusters, objective=name)
        nats, error = fitted.nats_per_unit, fitted.standard_error
    texts = scored.scores[:, k]
    distinct = len(np.unique(texts[~np.isnan(texts)].astype(np.float32)))
    ties = collapsed(texts, a_map(texts))
    if chosen == "isotonic":
        pure = collapsed(texts, fit_isotonic(scores, labels, strictness=0.0, objective=name)(texts))
        note = f"its steps alone would make {pure} of {distinct} different scores equal, with strictness {strictness:g} {ties} are (in float32). {note}".strip()
    return a_map, ObjectiveCalibration(
        name, chosen, _describe(a_map, error), nats, error, before, after, distinct, ties, note
    )


def _describe(a_map: ScoreMap, error: float | None) -> str:
    if isinstance(a_map, Cooled):
        return f"T = {number(a_map.temperature)}" + (
            "" if error is None or math.isnan(error) else f" ± {number(error)}"
        )
    if isinstance(a_map, Affine):
        return f"{number(a_map.slope)} · s + {number(a_map.offset)}"
    return f"{len(a_map.x)} knots" if isinstance(a_map, Isotonic) else "as it was"


def _out_of_fold(
    fit: Callable[[Ints], ScoreMap], scores: Floats, labels: Floats, clusters: Ints, folds: int, seed: int
) -> tuple[Floats, str]:
    """Each row's calibrated score by a fit to other clusters; NaN where that has no labels or can't be fitted."""
    ids = cluster_ids(clusters, len(scores))
    n_clusters = int(ids.max()) + 1
    found = np.full(len(scores), np.nan)
    if n_clusters < 2:
        return found, "all rows are of one prompt or document, so the gain on others is not known"
    fold_of = (np.random.default_rng(seed).permutation(n_clusters) % min(folds, n_clusters))[ids]
    for fold in range(min(folds, n_clusters)):
        inside = fold_of == fold
        try:
            found[inside] = fit(np.flatnonzero(~inside))(scores[inside])
        except (
            InputError
        ) as error:  # the whole could be fitted, a part of it can't: the report says so instead of guessing
            return np.full(
                len(scores), np.nan
            ), f"too few labels to measure the gain on rows that were not fitted to ({error})"
    return found, ""
