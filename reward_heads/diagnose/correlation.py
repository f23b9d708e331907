r"""Find heads that say the same thing: steering between two copies of one objective does nothing.

**Correlation** between heads over all completions, between prompts (of the prompts' means) and within a prompt (of what is left). What steers is within: a policy can only choose between answers
to the prompt it was given. Labels of annotators, where two objectives are labelled in the same rows, say whether the heads blur a distinction that people make; of pairs, which have no order, the
correlation about zero of $p - 1/2$.

**Attenuation** ([Spearman, 1904](https://doi.org/10.2307/1412159)): noisy labels correlate less than what they measure, $r = \rho\, \sqrt{\mathrm{rel}_1 \mathrm{rel}_2}$. Labels of pairs that are
flipped with probability ε have reliability $(1 - 2\epsilon)^2$.

**Redundancy** of a head: $R^2$ of its regression on the others, and the variance inflation factor $1/(1 - R^2)$ ([Marquardt, 1970](https://doi.org/10.1080/00401706.1970.10488699)); above 10 it says hardly
anything of its own. The **effective number of objectives** ([Roy & Vetterli, 2007](https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf)), with the eigenvalues $\lambda_k$ of the K × K
correlation matrix, is $\exp(-\sum_k \frac{\lambda_k}{K} \log \frac{\lambda_k}{K})$: K if all are uncorrelated, 1 if all are the same.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from frontier.errors import InputError, unknown_name
from reward_heads.diagnose.accuracy import pearson, spearman
from reward_heads.diagnose.intervals import DEFAULT, Floats, Ints, Resampling, bootstrap, cluster_ids
from reward_heads.diagnose.report import Estimate, Report, number, text_table
from reward_heads.diagnose.scored import ScoredRows

# Where a finding changes its words.
_SAME, _STRONG, _WEAK = 0.9, 0.6, 0.3


@dataclass(frozen=True)
class HeadPair:
    """How two heads go together.

    Args:
        first, second (`str`): the heads.
        pearson, spearman (`Estimate`): over all completions.
        within (`Estimate`): Spearman's, of scores minus their prompt's mean; NaN where prompts have one completion each.
        between (`Estimate`): Spearman's, of prompts' means.
        labels (`Estimate`): of the annotators' labels of the two, in rows that have both.
        disattenuated (`float`): `labels` of pairs without what label noise takes away, in [-1, 1]; NaN where reliabilities aren't given, and of ratings, which don't flip.
        finding (`str`): in plain words.
    """

    first: str
    second: str
    pearson: Estimate
    spearman: Estimate
    within: Estimate
    between: Estimate
    labels: Estimate
    disattenuated: float
    finding: str


@dataclass(frozen=True)
class Redundancy:
    """How much of one head the others know.

    Args:
        objective (`str`): the head.
        r2 (`Estimate`): share of its variance that the others explain.
        vif (`float`): variance inflation factor, `1 / (1 − r2)`; infinite for a copy or a mixture.
    """

    objective: str
    r2: Estimate
    vif: float


@dataclass(frozen=True)
class CorrelationReport(Report):
    """Correlation and redundancy of K heads.

    Args:
        objectives (`tuple[str, ...]`): K names.
        n (`int`), clusters (`int`): distinct completions, of how many prompts or documents.
        basis (`str`): `"within"` if the redundancy is of scores minus their prompt's mean, `"all"` where prompts have one completion each.
        matrix (`tuple[tuple[float, ...], ...]`): K × K Pearson correlation on that basis; NaN for heads in `left_out`.
        pairs (`tuple[HeadPair, ...]`): the K (K − 1) / 2 pairs, the most correlated first.
        redundancy (`tuple[Redundancy, ...]`): of each head; NaN for heads in `left_out`.
        effective (`Estimate`): the effective number of objectives, of the others.
        left_out (`tuple[str, ...]`): heads that are constant on that basis or never known, and so are kept out of redundancy and effective number.
    """

    objectives: tuple[str, ...]
    n: int
    clusters: int
    basis: str
    matrix: tuple[tuple[float, ...], ...]
    pairs: tuple[HeadPair, ...]
    redundancy: tuple[Redundancy, ...]
    effective: Estimate
    left_out: tuple[str, ...] = ()

    @property
    def n_used(self) -> int:
        """How many heads the effective number is of."""
        return len(self.objectives) - len(self.left_out)

    def table(self) -> str:
        """Pairs, redundancy, findings."""
        parts = []
        if self.pairs:
            head = ["heads", "within prompt", "between", "all", "labels"]
            rows = [
                [f"{p.first} ~ {p.second}", *map(str, (p.within, p.between, p.spearman, p.labels))] for p in self.pairs
            ]
            parts.append(text_table(head, rows))
        rows = [[r.objective, str(r.r2), number(r.vif, 1)] for r in self.redundancy]
        parts.append(text_table(["explained by the others", "R²", "VIF"], rows))
        parts.append(
            f"effective number of objectives: {self.effective} of {self.n_used} ({self.basis} prompts, n = {self.n})"
        )
        if self.left_out:
            parts.append(f"left out, since constant or never known: {', '.join(self.left_out)}")
        return "\n\n".join([*parts, *(p.finding for p in self.pairs)])


def correlation_report(
    scored: ScoredRows, *, reliability: Mapping[str, float] | None = None, how: Resampling = DEFAULT
) -> CorrelationReport:
    """Correlations between the heads of a reward, on the distinct completions of rows.

    Args:
        scored (`ScoredRows`): of `score_rows`.
        reliability (`Mapping[str, float]`, *optional*): of the labels of pairs, in (0, 1], by objective; with flip rate ε, [`reliability_of_flips`].
        how (`Resampling`, *optional*): of the intervals, over prompts or documents.

    Raises:
        InputError: a reliability is of an unknown objective or out of range.
    """
    for name, value in (reliability or {}).items():
        if name not in scored.objectives:
            raise unknown_name("objective in reliability", name, scored.objectives)
        if not 0 < value <= 1:
            raise InputError(f"reliability of '{name}' must be in (0, 1], found {value}")
    centred = within_prompts(scored.scores, scored.prompt_of)
    several = bool(np.nanmax(np.abs(centred), initial=0.0) > 0)
    pairs = [
        _pair(scored, centred if several else None, j, k, reliability, how)
        for j, k in combinations(range(len(scored.objectives)), 2)
    ]
    pairs.sort(key=lambda p: -abs(_steers(p)) if not math.isnan(_steers(p)) else 1.0)
    basis = centred if several else scored.scores
    used, known = _informative(basis)
    values, ids = basis[np.ix_(known, used)], cluster_ids(scored.cluster_of[known], len(known))
    matrix = np.full((basis.shape[1],) * 2, np.nan)
    matrix[np.ix_(used, used)] = _matrix(values)
    r2 = dict(zip(used.tolist(), _estimates(lambda rows: _r2(_matrix(values[rows])), ids, how), strict=True))
    effective = _estimates(lambda rows: np.array([effective_number(_matrix(values[rows]))]), ids, how)[0]
    return CorrelationReport(
        scored.objectives,
        len(known),
        int(ids.max()) + 1 if len(ids) else 0,
        "within" if several else "all",
        tuple(tuple(float(value) for value in row) for row in matrix),
        tuple(pairs),
        tuple(_redundancy(name, r2.get(k, Estimate(math.nan))) for k, name in enumerate(scored.objectives)),
        effective,
        tuple(name for k, name in enumerate(scored.objectives) if k not in r2),
    )


def reliability_of_flips(rate: float) -> float:
    """Reliability of pair labels that are flipped with probability `rate`: (1 − 2ε)².

    Raises:
        InputError: the rate is not in [0, 0.5): labels that are mostly wrong have no reliability.
    """
    if not 0 <= rate < 0.5:
        raise InputError(f"a flip rate must be in [0, 0.5), found {rate}")
    return (1 - 2 * rate) ** 2


def effective_number(matrix: Floats) -> float:
    """The effective number of objectives of a correlation matrix `[K, K]`; NaN where a head is constant, and of none.

    Example:
        >>> round(effective_number(np.eye(3)), 6), round(effective_number(np.ones((3, 3))), 6)
        (3.0, 1.0)
    """
    if not len(matrix) or np.isnan(matrix).any():
        return math.nan
    share = np.clip(np.linalg.eigvalsh(matrix), 0, None) / len(matrix)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def within_prompts(scores: Floats, prompt_of: Ints) -> Floats:
    """`[U, K]` scores minus their prompt's mean; NaN for the only known completion of a prompt."""
    known = ~np.isnan(scores)
    counts, sums = (
        np.zeros((int(prompt_of.max()) + 1, scores.shape[1])),
        np.zeros((int(prompt_of.max()) + 1, scores.shape[1])),
    )
    np.add.at(counts, prompt_of, known)
    np.add.at(sums, prompt_of, np.where(known, scores, 0.0))
    means = sums / np.maximum(counts, 1)
    centred = scores - means[prompt_of]
    # A head that is constant within prompts must read 0 there, not the rounding of a mean.
    centred = np.where(np.abs(centred) <= 1e-12 * np.abs(scores), 0.0, centred)
    return np.where(counts[prompt_of] > 1, centred, np.nan)


def _prompt_means(scores: Floats, prompt_of: Ints) -> Floats:
    """`[prompts]` means of one column; NaN where a score is missing."""
    return np.bincount(prompt_of, scores) / np.bincount(prompt_of)


def _pair(
    scored: ScoredRows, centred: Floats | None, j: int, k: int, reliability: Mapping[str, float] | None, how: Resampling
) -> HeadPair:
    first, second = scored.objectives[j], scored.objectives[k]
    both = scored.scores[:, [j, k]]
    nothing = Estimate(math.nan)
    within = nothing if centred is None else _correlate(spearman, centred[:, [j, k]], scored.cluster_of, how)
    means = np.stack([_prompt_means(both[:, i], scored.prompt_of) for i in range(2)], axis=1)
    cluster_of_prompt = np.zeros(len(means), dtype=np.int64)
    cluster_of_prompt[scored.prompt_of] = scored.cluster_of
    between = nothing if centred is None else _correlate(spearman, means, cluster_of_prompt, how)
    labels, of_pairs = _label_correlation(scored, j, k, how)
    true = math.nan
    if of_pairs and reliability is not None and first in reliability and second in reliability:
        # Beyond 1 it only says that the reliabilities are estimates, too.
        true = float(np.clip(labels.value / math.sqrt(reliability[first] * reliability[second]), -1, 1))
    linear, ranks = (_correlate(of, both, scored.cluster_of, how) for of in (pearson, spearman))
    found = HeadPair(first, second, linear, ranks, within, between, labels, true, "")
    return HeadPair(**{**vars(found), "finding": _finding(found)})


def _label_correlation(scored: ScoredRows, j: int, k: int, how: Resampling) -> tuple[Estimate, bool]:
    """Of ratings where there are enough, else of pairs; and whether it is of pairs."""
    ratings = scored.ratings[:, [j, k]]
    if (~np.isnan(ratings).any(axis=1)).sum() >= 3:
        return _correlate(spearman, ratings, scored.rating_clusters, how), False
    # Pairs have no order, so their labels are correlated about zero: swapping a and b of a row changes nothing.
    return _correlate(_about_zero, scored.labels[:, [j, k]] - 0.5, scored.pair_clusters, how), True


def _about_zero(x: Floats, y: Floats) -> float:
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size > 0 else math.nan


def _correlate(of: Callable[[Floats, Floats], float], both: Floats, clusters: Ints, how: Resampling) -> Estimate:
    known = ~np.isnan(both).any(axis=1)
    if known.sum() < 3:
        return Estimate(math.nan)
    values = both[known]
    ids = cluster_ids(clusters[known], len(values))
    return _estimates(lambda rows: np.array([of(values[rows, 0], values[rows, 1])]), ids, how)[0]


def _estimates(statistic: Callable[[Ints], Floats], ids: Ints, how: Resampling) -> list[Estimate]:
    values = statistic(np.arange(len(ids)))
    ends = bootstrap(statistic, ids, how)
    return [Estimate(float(value), float(low), float(high)) for value, low, high in zip(values, *ends, strict=True)]


def _informative(values: Floats) -> tuple[Ints, Ints]:
    """Columns that are known and vary, and the rows that know all of them: one head that says nothing must not silence the others."""
    used = np.flatnonzero(~np.isnan(values).all(axis=0))
    while True:
        rows = np.flatnonzero(~np.isnan(values[:, used]).any(axis=1))
        known = values[np.ix_(rows, used)]
        # Without rows it is missing scores that never meet, which is no fault of one column.
        varies = known.min(axis=0) < known.max(axis=0) if len(rows) else np.ones(len(used), dtype=bool)
        if varies.all():
            return used, rows
        used = used[varies]


def _redundancy(name: str, share: Estimate) -> Redundancy:
    return Redundancy(name, share, math.inf if share.value > 1 - 1e-9 else 1 / (1 - share.value))


def _matrix(values: Floats) -> Floats:
    """Pearson correlation `[K, K]`; NaN for constant columns."""
    k = values.shape[1]
    if len(values) < 3:
        return np.full((k, k), np.nan)
    constant = values.min(0) == values.max(0)
    centred = values - values.mean(0)
    scale = np.where(constant, np.nan, np.sqrt((centred**2).sum(0)))
    return (centred / scale).T @ (centred / scale)


def _r2(matrix: Floats) -> Floats:
    k = len(matrix)
    found = np.full(k, np.nan)
    if np.isnan(matrix).any():
        return found
    for i in range(k):
        others = np.delete(np.arange(k), i)
        # Least squares instead of an inverse: two of the others may be copies of each other.
        weights = np.linalg.lstsq(matrix[np.ix_(others, others)], matrix[others, i], rcond=1e-10)[0]
        found[i] = np.clip(matrix[i, others] @ weights, 0.0, 1.0)
    return found


def _steers(pair: HeadPair) -> float:
    return pair.spearman.value if math.isnan(pair.within.value) else pair.within.value


def _finding(p: HeadPair) -> str:
    r, names = _steers(p), f"{p.first} and {p.second}"
    if math.isnan(r):
        return f"{names} can't be compared: too few completions with both scores, or one head is constant."
    where = "" if math.isnan(p.within.value) else " within prompts"
    if r >= _SAME:
        text = f"{names} are {r:.2f} correlated{where}: steering between them will do almost nothing."
    elif r >= _STRONG:
        text = f"{names} are {r:.2f} correlated{where}: they overlap, and steering between them moves little."
    elif r <= -_STRONG:
        text = f"{names} are {r:.2f} correlated{where}: they pull against each other, and most of one is paid for with the other."
    elif r <= -_WEAK:
        text = f"{names} are {r:.2f} correlated{where}: there is a trade-off between them."
    elif r < _WEAK:
        text = f"{names} are {r:.2f} correlated{where}: they can be steered apart."
    else:
        text = f"{names} are {r:.2f} correlated{where}: they share something, and can be steered apart in part."
    told = p.disattenuated if not math.isnan(p.disattenuated) else p.labels.value
    if not math.isnan(told) and abs(r) - abs(told) > _WEAK:
        text += (
            f" The annotators' labels are only {told:.2f} correlated: the heads blur a distinction that people make."
        )
    return text
