r"""Ask how much annotators agree with each other, and who disagrees with a head more than chance allows.

**Krippendorff's alpha** ([Krippendorff, 2004](https://doi.org/10.1111/j.1468-2958.2004.tb00738.x)) with squared distances, over units with at least two labels ($n$ labels $v$, $m_u$ of unit u):

$$ \alpha = 1 - \frac{D_o}{D_e}, \quad D_o = \frac1n \sum_u \frac{1}{m_u - 1} \sum_{i \neq j \in u} (v_i - v_j)^2, \quad D_e = \frac{1}{n (n-1)} \sum_{i \neq j} (v_i - v_j)^2 : $$

1 if all agree, 0 if labels are as if drawn at random. Pairs have no order, so every unit counts in both: which completion stands first doesn't matter.

**Annotators against a head**: with $q_i = \max(\sigma(\Delta_i), \sigma(-\Delta_i))$ the number of labels that follow the head is a sum of independent coins, and its lower tail is exact. Over many annotators
some are odd by chance: those flagged are a set in which at most a share `fdr` are false ([Benjamini & Hochberg, 1995](https://doi.org/10.1111/j.2517-6161.1995.tb02031.x)). Calibrate first: against a head that is
too sure everybody is odd. `kappa` is Cohen's ([1960](https://doi.org/10.1177/001316446002000104)) with chance 1/2.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr
from scipy.stats import false_discovery_control

from frontier.errors import InputError
from reward_heads.diagnose.intervals import DEFAULT, Floats, Ints, Resampling, bootstrap, cluster_ids
from reward_heads.diagnose.report import Estimate, Report, number, text_table
from reward_heads.diagnose.scored import ScoredRows

# Above so many coins their sum is normal for every purpose, and the exact tail slow.
_EXACT = 2000
_SHOWN = 20


@dataclass(frozen=True)
class Annotator:
    """One annotator's labels of pairs.

    Args:
        user (`str`): who.
        n (`int`): labels with an order, on pairs that the head doesn't tie.
        agreement (`float`): share that follow the head.
        expected (`float`): share that should, if labels were drawn from σ(Δ).
        p_value (`float`): chance of so few or fewer.
        flagged (`bool`): disagrees beyond chance, all annotators considered.
        kappa (`float`): 2 · agreement − 1.
        others (`float`): share of the labels that follow the majority of the other annotators of the same pair; NaN where there are none.
        n_others (`int`): labels with such a majority.
    """

    user: str
    n: int
    agreement: float
    expected: float
    p_value: float
    flagged: bool
    kappa: float
    others: float
    n_others: int


@dataclass(frozen=True)
class AgreementReport(Report):
    """Annotators of one objective.

    Args:
        objective (`str`): the head.
        alpha_pairs (`Estimate`): Krippendorff's alpha of labels of pairs; NaN where no pair has two.
        alpha_ratings (`Estimate`): of ratings.
        fdr (`float`): the share of false flags that is allowed.
        annotators (`tuple[Annotator, ...]`): the smallest p-value first.
    """

    objective: str
    alpha_pairs: Estimate
    alpha_ratings: Estimate
    fdr: float
    annotators: tuple[Annotator, ...]

    def table(self) -> str:
        """Alpha, then one line per annotator, the oddest first; `annotators` has those beyond the twentieth."""
        shown = self.annotators[:_SHOWN]
        rows = [
            [a.user, a.n, a.agreement, a.expected, f"{a.p_value:.2g}", "yes" if a.flagged else "", a.others]
            for a in shown
        ]
        lines = [f"{self.objective}: alpha of pairs {self.alpha_pairs}, of ratings {self.alpha_ratings}"]
        if rows:
            lines.append(text_table(["annotator", "n", "follows head", "expected", "p", "odd", "follows others"], rows))
            lines.append(
                f"{sum(a.flagged for a in self.annotators)} of {len(self.annotators)} disagree beyond chance (false discovery rate {number(self.fdr, 2)})"
            )
        return "\n".join(lines)


def agreement_report(
    scored: ScoredRows, objective: str, *, fdr: float = 0.05, how: Resampling = DEFAULT
) -> AgreementReport:
    """Agreement between annotators, and of each with a head.

    Args:
        scored (`ScoredRows`): of `score_rows`, on rows with a `user` or `rater`.
        objective (`str`): which head and labels.
        fdr (`float`, *optional*, defaults to 0.05): of the flagged, the share that may be wrong.
        how (`Resampling`, *optional*): of the intervals, over prompts or documents.

    Raises:
        InputError: an unknown objective, or `fdr` is not in (0, 1).
    """
    k = scored.index(objective)
    if not 0 < fdr < 1:
        raise InputError(f"fdr must be in (0, 1), found {fdr}")
    units, oriented = pair_units(scored, k)
    pairs = _alpha(units, oriented, scored.pair_clusters, True, how)
    ratings = _alpha(scored.text, scored.ratings[:, k], scored.rating_clusters, False, how)
    found = _annotators(scored, k, units, oriented)
    flags = false_discovery_control([a.p_value for a in found]) <= fdr if found else []
    marked = [Annotator(**{**vars(a), "flagged": bool(flag)}) for a, flag in zip(found, flags, strict=True)]
    return AgreementReport(objective, pairs, ratings, fdr, tuple(sorted(marked, key=lambda a: (a.p_value, a.user))))


def pair_units(scored: ScoredRows, k: int) -> tuple[Ints, Floats]:
    """`[N]` numbers that tell which rows compare the same two texts, and `[N]` labels turned so that they compare them in the same order."""
    low, high = np.minimum(scored.a, scored.b), np.maximum(scored.a, scored.b)
    units = cluster_ids(list(zip(low.tolist(), high.tolist(), strict=True)), len(low))
    labels = scored.labels[:, k]
    return units, np.where(scored.a > scored.b, 1 - labels, labels)


def krippendorff_alpha(units: Sequence[Hashable] | Ints, labels: Floats, *, symmetric: bool = False) -> float:
    """Krippendorff's alpha with squared distances; NaN where no unit has two labels, or all labels are the same.

    Args:
        units (`Sequence`): `[N]`, what each label is of.
        labels (`NDArray`): `[N]`; NaN = missing.
        symmetric (`bool`, *optional*, defaults to `False`): labels are of pairs in an arbitrary order, so every unit counts with its mirror image 1 − label.

    Example:
        >>> round(krippendorff_alpha([0, 0, 1, 1, 2, 2], np.array([1.0, 1.0, 2.0, 2.0, 3.0, 2.0])), 4)
        0.7059
    """
    known = ~np.isnan(labels)
    ids, v = cluster_ids(units, len(labels))[known], labels[known]
    counts = np.bincount(ids)
    paired = counts[ids] > 1
    ids, v = ids[paired], v[paired]
    if not len(v):
        return math.nan
    m, sums, squares = np.bincount(ids), np.bincount(ids, v), np.bincount(ids, v**2)
    several = m > 1
    within = 2 * ((m * squares - sums**2)[several] / (m[several] - 1)).sum()
    pool = np.concatenate([v, 1 - v]) if symmetric else v
    within, n = within * (2 if symmetric else 1), len(pool)
    expected = 2 * (n * (pool**2).sum() - pool.sum() ** 2) / (n * (n - 1))
    return float(1 - within / n / expected) if expected > 0 else math.nan


def lower_tail(chances: Floats, count: int) -> float:
    """P(X ≤ count) for X the number of heads among independent coins with these chances."""
    if len(chances) > _EXACT:
        deviation = math.sqrt(float((chances * (1 - chances)).sum()))
        return (
            float(ndtr((count + 0.5 - chances.sum()) / deviation))
            if deviation > 0
            else float(count >= round(chances.sum()))
        )
    mass = np.zeros(len(chances) + 1)
    mass[0] = 1.0
    for chance in chances:
        mass[1:] = mass[1:] * (1 - chance) + mass[:-1] * chance
        mass[0] *= 1 - chance
    return float(min(1.0, mass[: count + 1].sum()))


def _alpha(units: Ints, labels: Floats, clusters: Ints, symmetric: bool, how: Resampling) -> Estimate:
    known = ~np.isnan(labels)
    if not known.any():
        return Estimate(math.nan)
    units, labels = units[known], labels[known]
    value = krippendorff_alpha(units, labels, symmetric=symmetric)
    if math.isnan(value):
        return Estimate(math.nan)
    ids = cluster_ids(clusters[known], len(labels))

    def resampled(rows: Ints) -> float:
        # A prompt that is drawn twice is two prompts: its units must not run together.
        first = np.concatenate([[True], rows[1:] != rows[:-1]])
        run = np.arange(len(rows)) - np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))
        return krippendorff_alpha(units[rows] + run * (int(units.max()) + 1), labels[rows], symmetric=symmetric)

    low, high = bootstrap(resampled, ids, how)
    return Estimate(value, float(low), float(high))


def _annotators(scored: ScoredRows, k: int, units: Ints, oriented: Floats) -> list[Annotator]:
    d, y = scored.differences[:, k], scored.labels[:, k]
    told = ~(np.isnan(y) | np.isnan(d) | (y == 0.5)) & (d != 0)
    # Votes of a unit, ±1 in its own order, so that the others' majority is the sum without one's own.
    votes = np.nan_to_num(np.sign(oriented - 0.5))
    totals = np.bincount(units, votes) if len(units) else np.zeros(0)
    rows_of: dict[str, list[int]] = {}
    for i, user in enumerate(scored.pair_users):
        if user is not None and told[i]:
            rows_of.setdefault(user, []).append(i)
    found = []
    for user, listed in rows_of.items():
        rows = np.array(listed)
        follows = (d[rows] > 0) == (y[rows] > 0.5)
        chances = expit(np.abs(d[rows]))
        p_value = lower_tail(chances, int(follows.sum()))
        own = np.zeros(len(totals))
        np.add.at(own, units[rows], votes[rows])
        rest = (totals - own)[units[rows]]
        decided = rest != 0
        others = float((np.sign(rest) == votes[rows])[decided].mean()) if decided.any() else math.nan
        share = float(follows.mean())
        found.append(
            Annotator(
                user, len(rows), share, float(chances.mean()), p_value, False, 2 * share - 1, others, int(decided.sum())
            )
        )
    return found
