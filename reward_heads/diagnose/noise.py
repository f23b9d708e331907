r"""Estimate how often labels are simply wrong, so that training can allow for it.

A label follows the head's Bradley-Terry probability, and is then flipped with probability ε ([Chowdhury et al., 2024](https://huggingface.co/papers/2403.00409)):

$$ P(a \succ b) = (1 - \epsilon)\, \sigma(\alpha \Delta) + \epsilon\, \sigma(-\alpha \Delta) . $$

**EM** ([Dempster et al., 1977](https://doi.org/10.1111/j.2517-6161.1977.tb01600.x)). E: the chance $\gamma_i$ that label i was flipped; M: ε is the mean of γ, and α the Bradley-Terry scale of the labels turned back
(one Newton step, which never lowers the likelihood). Soft labels count as both, with weights p and 1 − p.

**What it can't know.** Near Δ = 0 only the product $(1 - 2\epsilon)\, \alpha$ shows; ε is what is left of disagreement where the head is sure. Without such pairs it is not identified: the profile interval is
wide, `identifiable` is false. And a head's own confident mistakes look like noise: on held-out pairs ε is the noise plus those. On the pairs that it was trained on, the head has learned some of
the noise, and ε comes out too small.

The rates go to training: `RewardHeadsConfig(label_noise=report.rates())`.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import betaln, expit, logsumexp
from scipy.stats import chi2

from frontier.errors import InputError
from reward_heads.diagnose.intervals import DEFAULT, Floats, Resampling, cluster_ids, column
from reward_heads.diagnose.report import Estimate, Report, number, text_table
from reward_heads.diagnose.scored import ScoredRows

_GRID = np.linspace(0.0025, 0.4975, 100)
_STRENGTHS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 300.0, 1000.0)
_CAP = 0.499


@dataclass(frozen=True)
class AnnotatorNoise:
    """How often one annotator's labels are flipped.

    Args:
        user (`str`): who.
        rate (`Estimate`): posterior mean and interval, shrunk towards the others as far as they are alike.
        n (`int`): labels.
    """

    user: str
    rate: Estimate
    n: int


@dataclass(frozen=True)
class LabelNoise:
    """Flip rate of one objective's labels.

    Args:
        objective (`str`): the head.
        rate (`Estimate`): ε in [0, 0.5), with its profile-likelihood interval (pairs independent).
        standard_error (`float`): over clusters; NaN at the edge, where ε is 0.
        scale (`float`): α, nats per unit of score once noise is taken out.
        n (`int`): labels used.
        identifiable (`bool`): whether the pairs can tell noise from a smaller scale.
        warning (`str`): what to beware of; empty if nothing.
        annotators (`tuple[AnnotatorNoise, ...]`): the noisiest first; empty without users.
    """

    objective: str
    rate: Estimate
    standard_error: float
    scale: float
    n: int
    identifiable: bool
    warning: str
    annotators: tuple[AnnotatorNoise, ...] = ()


@dataclass(frozen=True)
class NoiseReport(Report):
    """Flip rates of all objectives with labelled pairs.

    Args:
        objectives (`tuple[LabelNoise, ...]`): one for each.
    """

    objectives: tuple[LabelNoise, ...]

    def rates(self) -> dict[str, float]:
        """Objective to flip rate, where it is identifiable: what `RewardHeadsConfig(label_noise=...)` takes."""
        return {found.objective: found.rate.value for found in self.objectives if found.identifiable}

    def table(self) -> str:
        """One line per objective, then warnings and the noisiest annotators."""
        rows = [[o.objective, str(o.rate), number(o.standard_error), number(o.scale), o.n] for o in self.objectives]
        parts = [text_table(["objective", "flip rate", "se", "nats per unit", "n"], rows)]
        parts += [f"{o.objective}: {o.warning}" for o in self.objectives if o.warning]
        for o in self.objectives:
            if o.annotators:
                listed = [[a.user, str(a.rate), a.n] for a in o.annotators[:10]]
                parts.append(text_table([f"noisiest for {o.objective}", "flip rate", "n"], listed))
        return "\n".join(parts)


def noise_report(scored: ScoredRows, *, fit_scale: bool = True, how: Resampling = DEFAULT) -> NoiseReport:
    """Flip rates of every objective with labelled pairs.

    Args:
        scored (`ScoredRows`): of `score_rows`, on pairs that the reward was not trained on.
        fit_scale (`bool`, *optional*, defaults to `True`): see [`label_noise`].
        how (`Resampling`, *optional*): its level.

    Raises:
        InputError: no objective has labelled pairs, or see [`label_noise`].
    """
    compared = [name for k, name in enumerate(scored.objectives) if not np.isnan(scored.labels[:, k]).all()]
    if not compared:
        raise InputError("label noise is estimated from labelled pairs, and there are none")
    return NoiseReport(tuple(noise_of(scored, name, fit_scale=fit_scale, how=how) for name in compared))


def noise_of(scored: ScoredRows, objective: str, *, fit_scale: bool = True, how: Resampling = DEFAULT) -> LabelNoise:
    """Flip rate of one objective of scored rows.

    Args:
        scored (`ScoredRows`): of `score_rows`, on pairs that the reward was not trained on.
        objective (`str`): whose labels.
        fit_scale (`bool`, *optional*, defaults to `True`): see [`label_noise`].
        how (`Resampling`, *optional*): its level.

    Raises:
        InputError: an unknown objective, or see [`label_noise`].
    """
    k = scored.index(objective)
    return label_noise(
        scored.differences[:, k],
        scored.labels[:, k],
        scored.pair_clusters,
        users=scored.pair_users,
        objective=objective,
        fit_scale=fit_scale,
        level=how.level,
    )


def label_noise(
    differences: ArrayLike,
    labels: ArrayLike,
    clusters: Sequence[Hashable] | NDArray | None = None,
    *,
    users: Sequence[str | None] | None = None,
    objective: str = "",
    fit_scale: bool = True,
    level: float = 0.95,
) -> LabelNoise:
    """Flip rate of one objective, and of each annotator.

    Args:
        differences (`ArrayLike`): `[N]`, score of a minus score of b; NaN = not known.
        labels (`ArrayLike`): `[N]`, probability that a is better; NaN = missing.
        clusters (*optional*): `[N]`, what hangs together, for the standard error.
        users (*optional*): `[N]`, who labelled; `None` = not known.
        objective (`str`, *optional*): the name in messages.
        fit_scale (`bool`, *optional*, defaults to `True`): fit α too. `False` where scores are in nats of labels *without* noise; a head that was calibrated to
            noisy labels has the noise in its scale already.
        level (`float`, *optional*, defaults to 0.95): of the intervals.

    Raises:
        InputError: no pair has a label and unequal scores, or the labels oppose the scores more than not, so that ε would be above 1/2.
    """
    d = column(differences, "differences")
    y = column(labels, "labels", len(d))
    used = ~(np.isnan(d) | np.isnan(y)) & (d != 0)
    if not used.any():
        raise InputError(f"objective '{objective}': no pair has a label and two different scores")
    ids = cluster_ids(cluster_ids(clusters, len(d))[used], int(used.sum()))
    listed = None if users is None else [user for user, keep in zip(users, used, strict=True) if keep]
    d, y = d[used], y[used]
    if ((y < 0) | (y > 1)).any():
        raise InputError(f"objective '{objective}': labels must be in [0, 1]")
    if (d * (y - 0.5)).sum() <= 0:
        raise InputError(
            f"objective '{objective}': the labels oppose the scores more than not; a flip rate below 1/2 can't explain that: check the sign"
        )
    unit = float(np.sqrt((d**2).mean()))
    d = d / unit
    rate, scale = _em(d, y, unit, fit_scale)
    low, high = _profile_interval(d, y, rate, scale, fit_scale, level)
    error, correlation = _standard_error(d, y, rate, scale, ids, fit_scale)
    identifiable = high - low <= 0.3 and not correlation > 0.99
    warning = (
        ""
        if identifiable
        else (
            "noise can't be told from a smaller scale: too few pairs where the head is sure. Use more pairs, or fit_scale=False with scores in nats"
        )
    )
    annotators = () if listed is None else _annotators(d * scale, y, listed, rate, level)
    return LabelNoise(
        objective, Estimate(rate, low, high), error, scale / unit, len(d), bool(identifiable), warning, annotators
    )


def log_likelihood(rate: float, margins: Floats, labels: Floats) -> float:
    """Log-likelihood in nats of a flip rate, for differences in nats."""
    q = expit(margins)
    p = np.clip(q + rate * (1 - 2 * q), 1e-300, 1.0)
    not_p = np.clip(1 - q - rate * (1 - 2 * q), 1e-300, 1.0)
    return float((labels * np.log(p) + (1 - labels) * np.log(not_p)).sum())


def rate_posterior(chances: Floats, weights: Floats, mean: float, strength: float) -> tuple[Floats, float]:
    """Posterior of one annotator's flip rate over a grid in (0, 1/2), and its log marginal likelihood.

    Args:
        chances (`NDArray`): `[n]`, the probability that the label which was given would be given without a flip.
        weights (`NDArray`): `[n]`, how much each counts.
        mean (`float`): of the rate under the prior, a Beta distribution of the doubled rate.
        strength (`float`): of the prior, in equivalent labels.
    """
    a, b = 2 * mean * strength, (1 - 2 * mean) * strength
    prior = (a - 1) * np.log(2 * _GRID) + (b - 1) * np.log1p(-2 * _GRID) - betaln(a, b)
    prior -= logsumexp(prior)
    curve = (weights[:, None] * np.log(chances[:, None] + _GRID * (1 - 2 * chances[:, None]))).sum(0)
    evidence = float(logsumexp(prior + curve))
    return np.exp(prior + curve - evidence), evidence


def _em(d: Floats, y: Floats, unit: float, fit_scale: bool) -> tuple[float, float]:
    rate, scale = 0.1, 1.0 if fit_scale else unit
    before = -math.inf
    for _ in range(3000):
        q = expit(scale * d)
        p = np.clip(q + rate * (1 - 2 * q), 1e-300, 1.0)
        # A soft label is "a" with weight y and "b" with 1 − y; each part may have been flipped.
        flipped_a, flipped_b = rate * (1 - q) / p, rate * q / np.clip(1 - p, 1e-300, 1.0)
        flipped = y * flipped_a + (1 - y) * flipped_b
        turned = y * (1 - flipped_a) + (1 - y) * flipped_b
        rate = float(min(flipped.mean(), _CAP))
        if fit_scale:
            scale = _newton_step(d, turned, scale)
        after = log_likelihood(rate, scale * d, y)
        if after - before < 1e-10 * max(1.0, abs(after)):
            break
        before = after
    return rate if rate > 1e-6 else 0.0, scale


def _newton_step(d: Floats, y: Floats, scale: float) -> float:
    q = expit(scale * d)
    slope, curvature = float((d * (y - q)).sum()), float((d**2 * q * (1 - q)).sum())
    step = slope / max(curvature, 1e-12)
    loss = float((np.logaddexp(0, scale * d) - y * scale * d).sum())
    while abs(step) > 1e-14:
        following = min(max(scale + step, 1e-6), 1e3)
        if float((np.logaddexp(0, following * d) - y * following * d).sum()) <= loss:
            return following
        step /= 2
    return scale


def _profile(d: Floats, y: Floats, rate: float, scale: float, fit_scale: bool) -> float:
    if not fit_scale:
        return log_likelihood(rate, scale * d, y)
    centre = math.log(scale)
    found = minimize_scalar(
        lambda log_scale: -log_likelihood(rate, math.exp(log_scale) * d, y),
        bounds=(centre - 5, centre + 5),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return -float(found.fun)


def _profile_interval(
    d: Floats, y: Floats, rate: float, scale: float, fit_scale: bool, level: float
) -> tuple[float, float]:
    best = _profile(d, y, rate, scale, fit_scale)
    threshold = float(chi2.ppf(level, 1)) / 2

    def drop(at: float) -> float:
        return best - _profile(d, y, at, scale, fit_scale) - threshold

    low = 0.0 if rate == 0 or drop(0.0) <= 0 else float(brentq(drop, 0.0, rate, xtol=1e-4))
    high = 0.5 if rate >= _CAP or drop(_CAP) <= 0 else float(brentq(drop, rate, _CAP, xtol=1e-4))
    return low, high


def _standard_error(
    d: Floats, y: Floats, rate: float, scale: float, ids: NDArray, fit_scale: bool
) -> tuple[float, float]:
    """Robust standard error of the rate, and how strongly it is tied to the scale (correlation of the two estimates)."""
    q = expit(scale * d)
    p = np.clip(q + rate * (1 - 2 * q), 1e-12, 1 - 1e-12)
    slopes = np.stack([1 - 2 * q, (1 - 2 * rate) * q * (1 - q) * d], axis=1)[:, : 2 if fit_scale else 1]
    information = (slopes / (p * (1 - p))[:, None]).T @ slopes
    if rate == 0 or np.linalg.cond(information) > 1e12:
        return math.nan, 1.0 if np.linalg.cond(information) > 1e12 else 0.0
    inverse = np.linalg.inv(information)
    scores = slopes * ((y - p) / (p * (1 - p)))[:, None]
    sums = np.stack([np.bincount(ids, column_) for column_ in scores.T], axis=1)
    error = math.sqrt(float((inverse @ (sums.T @ sums) @ inverse)[0, 0]))
    tied = abs(inverse[0, 1]) / math.sqrt(inverse[0, 0] * inverse[1, 1]) if fit_scale else 0.0
    return error, float(tied)


def _annotators(
    margins: Floats, y: Floats, users: Sequence[str | None], rate: float, level: float
) -> tuple[AnnotatorNoise, ...]:
    rows_of: dict[str, list[int]] = {}
    for i, user in enumerate(users):
        if user is not None:
            rows_of.setdefault(user, []).append(i)
    if not rows_of:
        return ()
    chances = {user: expit(np.where(y[rows] > 0.5, 1, -1) * margins[rows]) for user, rows in rows_of.items()}
    weights = {user: np.abs(2 * y[rows] - 1) for user, rows in rows_of.items()}
    return shrunk_rates(chances, weights, rate, level)


def shrunk_rates(
    chances: dict[str, Floats], weights: dict[str, Floats], mean: float, level: float = 0.95
) -> tuple[AnnotatorNoise, ...]:
    """Rates of annotators under a Beta prior whose strength is the most likely one, the highest first (empirical Bayes).

    Args:
        chances (`dict[str, NDArray]`): of each, see [`rate_posterior`].
        weights (`dict[str, NDArray]`): of each.
        mean (`float`): of the prior: the pooled rate.
        level (`float`, *optional*, defaults to 0.95): of the intervals.
    """
    mean = min(max(mean, 0.005), 0.495)
    evidence = [sum(rate_posterior(chances[u], weights[u], mean, s)[1] for u in chances) for s in _STRENGTHS]
    strength = _STRENGTHS[int(np.argmax(evidence))]
    found = []
    for user, given in chances.items():
        mass, _ = rate_posterior(given, weights[user], mean, strength)
        below = np.cumsum(mass)
        cuts = np.searchsorted(below, [0.5 - level / 2, 0.5 + level / 2])
        low, high = _GRID[np.minimum(cuts, len(_GRID) - 1)].tolist()
        found.append(AnnotatorNoise(user, Estimate(float(mass @ _GRID), low, high), len(given)))
    return tuple(sorted(found, key=lambda a: (-a.rate.value, a.user)))
