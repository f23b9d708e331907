r"""Measure how well each head agrees with labels, with intervals that know that rows of one prompt hang together.

Pairs: the share ranked as labelled, ties of the head counting half, with Wilson's interval (rows independent) and the cluster bootstrap's (prompts independent), against the majority
baseline (always "a", or always "b"; of comparisons that ratings imply, which have no order, a coin). Ratings: Pearson's $r$, Spearman's $\rho$ ([Spearman, 1904](https://doi.org/10.2307/1412159)), Kendall's $\tau_b$
([Kendall, 1945](https://doi.org/10.1093/biomet/33.3.239)), the accuracy of the comparisons that ratings imply within a prompt (what a policy is trained on: correlation over
all rows is partly about which prompts are easy), and

$$ \mathrm{MSE} = \frac1M \sum_i (s_i - y_i)^2, \qquad R^2 = 1 - \mathrm{MSE} / \mathrm{var}(y), $$

which ask for scores in the units of the ratings (calibrate first); $R^2 < 0$ is worse than the constant mean. Log-odds have no such unit: there both are left out.
"""

import math
import warnings
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from reward_heads.diagnose.intervals import (
    DEFAULT,
    Floats,
    Ints,
    Resampling,
    bootstrap,
    cluster_ids,
    column,
    mean_interval,
    wilson,
)
from reward_heads.diagnose.report import Estimate, Report, text_table
from reward_heads.diagnose.scored import ScoredRows


@dataclass(frozen=True)
class PairAccuracy:
    """How often one head ranks two completions as labelled.

    Args:
        objective (`str`): the head.
        accuracy (`Estimate`): in [0, 1], with the cluster bootstrap's interval.
        wilson (`tuple[float, float]`): the interval if all pairs were independent.
        n (`int`): pairs with an order in their label and known scores.
        clusters (`int`): of how many prompts or documents.
        tied (`int`): pairs that the head scores alike, counted half.
        majority (`float`): the accuracy of the better of "always a" and "always b"; meaningless (1) where rows put the better completion first. 0.5 where ratings
            imply the comparisons: which of two comes first is then an accident of the file.
        above_majority (`bool`): whether the interval lies above it, or above 0.5 where the majority is meaningless.
    """

    objective: str
    accuracy: Estimate
    wilson: tuple[float, float]
    n: int
    clusters: int
    tied: int
    majority: float
    above_majority: bool


@dataclass(frozen=True)
class RatingAgreement:
    """How one head goes with ratings.

    Args:
        objective (`str`): the head.
        n (`int`), clusters (`int`): ratings with a known score, of how many prompts or documents.
        pearson, spearman, kendall (`Estimate`): correlation over all rows.
        within (`PairAccuracy`): comparisons of completions of one prompt that ratings imply.
        mse (`Estimate`): in rating units squared; NaN where scores are nats.
        r2 (`Estimate`): share of the ratings' variance that the scores explain as they are; NaN where scores are nats.
    """

    objective: str
    n: int
    clusters: int
    pearson: Estimate
    spearman: Estimate
    kendall: Estimate
    within: PairAccuracy
    mse: Estimate
    r2: Estimate


@dataclass(frozen=True)
class AccuracyReport(Report):
    """Accuracy of every head that has labels.

    Args:
        level (`float`): of all intervals.
        pairs (`tuple[PairAccuracy, ...]`): one for each objective with labelled pairs.
        ratings (`tuple[RatingAgreement, ...]`): one for each objective with ratings.
    """

    level: float
    pairs: tuple[PairAccuracy, ...]
    ratings: tuple[RatingAgreement, ...]

    def table(self) -> str:
        """One table for pairs and one for ratings."""
        parts = []
        if self.pairs:
            head = ["pairs", "accuracy", "Wilson", "majority", "above", "n", "clusters"]
            parts.append(text_table(head, [[p.objective, *_cells(p), p.n, p.clusters] for p in self.pairs]))
        if self.ratings:
            head = ["ratings", "Spearman", "Pearson", "Kendall", "within prompt", "R²", "MSE", "n", "clusters"]
            rows = [[r.objective, *_estimates(r), str(r.n), str(r.clusters)] for r in self.ratings]
            parts.append(text_table(head, rows))
        return "\n\n".join(parts) or "no labels"


def _estimates(r: RatingAgreement) -> list[str]:
    return [str(value) for value in (r.spearman, r.pearson, r.kendall, r.within.accuracy, r.r2, r.mse)]


def _cells(p: PairAccuracy) -> list[str]:
    above = "yes" if p.above_majority else "no"
    return [str(p.accuracy), f"[{p.wilson[0]:.3f}, {p.wilson[1]:.3f}]", f"{p.majority:.3f}", above]


def accuracy_report(scored: ScoredRows, how: Resampling = DEFAULT, *, in_nats: Collection[str] = ()) -> AccuracyReport:
    """Accuracy of every head that has labels, on pairs, on ratings, or both.

    Args:
        scored (`ScoredRows`): of `score_rows`, on rows that the reward was not trained on.
        how (`Resampling`, *optional*): of the intervals.
        in_nats (`Collection[str]`, *optional*): objectives whose scores are log-odds and not ratings: flags, and heads cooled to nats. Squared errors against ratings mean nothing there.

    Raises:
        InputError: `in_nats` names an unknown objective.
    """
    for name in in_nats:
        scored.index(name)
    pairs, ratings = [], []
    for k, name in enumerate(scored.objectives):
        if not np.isnan(scored.labels[:, k]).all():
            d, y = scored.differences[:, k], scored.labels[:, k]
            pairs.append(pair_accuracy(d, y, scored.pair_clusters, objective=name, how=how))
        if not np.isnan(scored.ratings[:, k]).all():
            ratings.append(_rating_agreement(scored, k, how, has_unit=name not in in_nats))
    return AccuracyReport(how.level, tuple(pairs), tuple(ratings))


def pair_accuracy(
    differences: ArrayLike,
    labels: ArrayLike,
    clusters: Sequence[Hashable] | Ints | None = None,
    *,
    objective: str = "",
    how: Resampling = DEFAULT,
    baseline: float | None = None,
) -> PairAccuracy:
    """Accuracy of one head on pairs.

    Args:
        differences (`ArrayLike`): `[N]`, score of a minus score of b; NaN = not known.
        labels (`ArrayLike`): `[N]`, probability that a is better; NaN = missing. Ties (0.5) are left out.
        clusters (*optional*): `[N]`, what hangs together (prompts, documents); by default every pair stands alone.
        objective (`str`, *optional*): the name in the result.
        how (`Resampling`, *optional*): of the intervals.
        baseline (`float`, *optional*): what to hold the accuracy against as `majority`; by default the commoner label. 0.5 where it is an accident which of two stands first.

    Raises:
        InputError: lengths differ.

    Example:
        >>> pair_accuracy([1.0, 2.0, -1.0, 0.0], [1.0, 0.9, 1.0, 0.0]).accuracy.value  # right, right, wrong, undecided
        0.625
    """
    d = column(differences, "differences")
    y = column(labels, "labels", len(d))
    used = ~(np.isnan(d) | np.isnan(y) | (y == 0.5))
    ids = cluster_ids(cluster_ids(clusters, len(d))[used], int(used.sum()))
    d, up = d[used], y[used] > 0.5
    if not len(d):
        nothing = Estimate(math.nan)
        return PairAccuracy(objective, nothing, (math.nan, math.nan), 0, 0, 0, math.nan, False)
    right = 0.5 + 0.5 * np.sign(d) * np.where(up, 1.0, -1.0)
    found = mean_interval(right, ids, how)
    majority = max(up.mean(), 1 - up.mean()) if baseline is None else baseline
    ends = wilson(found.value, len(d), how.level)
    # With the better completion always first, "always a" knows the answer; there chance is the only baseline.
    low = ends[0] if math.isnan(found.low) else min(found.low, found.value)
    above = low > (0.5 if majority == 1 else majority)
    return PairAccuracy(
        objective, found, ends, len(d), int(ids.max()) + 1, int((d == 0).sum()), float(majority), bool(above)
    )


def _rating_agreement(scored: ScoredRows, k: int, how: Resampling, has_unit: bool) -> RatingAgreement:
    name = scored.objectives[k]
    scores, ratings = scored.scores[scored.text, k], scored.ratings[:, k]
    used = ~(np.isnan(scores) | np.isnan(ratings))
    s, y = scores[used], ratings[used]
    ids = cluster_ids(scored.rating_clusters[used], len(s))
    first, second, labels = scored.rated_pairs(name)
    d = scored.scores[first, k] - scored.scores[second, k]
    within = pair_accuracy(d, labels, scored.cluster_of[first], objective=name, how=how, baseline=0.5)

    def measured(of: Callable[[Floats, Floats], float], draws: int = how.resamples) -> Estimate:
        if len(s) < 2:
            return Estimate(math.nan)
        low, high = bootstrap(lambda rows: of(s[rows], y[rows]), ids, replace(how, resamples=draws))
        return Estimate(of(s, y), float(low), float(high))

    return RatingAgreement(
        objective=name,
        n=len(s),
        clusters=int(ids.max()) + 1 if len(s) else 0,
        pearson=measured(pearson),
        spearman=measured(spearman),
        kendall=measured(kendall, min(how.resamples, 200)),
        within=within,
        mse=measured(_mse) if has_unit else Estimate(math.nan),
        r2=measured(_r2) if has_unit else Estimate(math.nan),
    )


def _mse(scores: Floats, ratings: Floats) -> float:
    return float(((scores - ratings) ** 2).mean())


def _r2(scores: Floats, ratings: Floats) -> float:
    return 1 - _mse(scores, ratings) / float(ratings.var()) if ratings.var() > 0 else math.nan


def pearson(x: Floats, y: Floats) -> float:
    """Pearson's correlation; NaN where either is constant."""
    # A constant is recognised as it stands: minus its mean it would be rounding noise, which correlates with anything.
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x @ y) / math.sqrt(float(x @ x) * float(y @ y)), -1, 1))


def spearman(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation, ties with their mean rank; NaN where either is constant."""
    return pearson(stats.rankdata(x), stats.rankdata(y))


def kendall(x: Floats, y: Floats) -> float:
    """Kendall's τ-b; NaN where either is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant resample has no correlation, and says so by NaN
        return float(stats.kendalltau(x, y).statistic)
