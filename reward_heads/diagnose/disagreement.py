r"""List the rows that are worth reading: where heads pull against each other, and where a head and an annotator disagree.

**Conflict** of two heads over a pair: with $z_k = \Delta_k / \mathrm{rms}(\Delta_k)$, the smaller of $|z_j|$ and $|z_k|$ if they point in opposite directions, else 0: large where both heads are sure and
opposed. **Surprise** of a label, in nats: how much less likely the head found it than the best prediction of it,

$$ p \log \frac{p}{q} + (1 - p) \log \frac{1 - p}{1 - q}, \qquad q = \sigma(\Delta), $$

which is $-\log P(\mathrm{label})$ for a certain label and 0 for a tie between equal scores. Of a rating, with residual e and the residuals' standard deviation s, $e^2 / 2 s^2$ nats. Calibrate first: of a head that is
too sure every mistake is a surprise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import xlog1py, xlogy

from reward_heads.diagnose.intervals import Floats
from reward_heads.diagnose.report import Report, number, shorten, text_table
from reward_heads.diagnose.scored import ScoredRows
from reward_heads.text import plain_text


@dataclass(frozen=True)
class Disagreement:
    """One row to read.

    Args:
        kind (`str`): `"conflict"` between two heads, or `"surprise"` of a head by a label.
        amount (`float`): conflict in standard units of difference, or surprise in nats; the larger, the higher in the list.
        row (`int`): position among the rows that were given.
        objectives (`tuple[str, ...]`): the two heads in conflict, or the one that was surprised.
        prompt (`str`), completion (`str`), other (`str`, *optional*): the texts; `other` is completion b of a pair.
        scores (`dict[str, float]`): of the completion, by head; NaN = not known.
        other_scores (`dict[str, float]`, *optional*): of completion b.
        labels (`dict[str, float]`): of the row, by objective; what is missing is left out.
        user (`str`, *optional*): who labelled.
    """

    kind: str
    amount: float
    row: int
    objectives: tuple[str, ...]
    prompt: str
    completion: str
    other: str | None
    scores: dict[str, float]
    other_scores: dict[str, float] | None
    labels: dict[str, float]
    user: str | None


@dataclass(frozen=True)
class DisagreementReport(Report):
    """The rows to read first.

    Args:
        conflicts (`tuple[Disagreement, ...]`): heads against heads, the strongest first.
        surprises (`tuple[Disagreement, ...]`): heads against annotators, the strongest first.
        conflict_share (`dict[str, float]`): by `"first ~ second"`, the share of pairs that the two heads rank in opposite ways.
    """

    conflicts: tuple[Disagreement, ...]
    surprises: tuple[Disagreement, ...]
    conflict_share: dict[str, float]

    def table(self) -> str:
        """Shares of conflict, then both lists, texts cut short."""
        parts = []
        if self.conflict_share:
            rows = [[names, share] for names, share in self.conflict_share.items()]
            parts.append(text_table(["heads that rank pairs in opposite ways", "share"], rows))
        for title, found in (("conflicts", self.conflicts), ("surprises", self.surprises)):
            if found:
                lines = [[title, "amount", "row", "heads", "text"], *(_line(one) for one in found)]
                parts.append(text_table(lines[0], lines[1:]))
        return "\n\n".join(parts) or "no pairs and no labels"


def _line(one: Disagreement) -> list[str]:
    texts = shorten(one.completion, 40) + ("" if one.other is None else f" | {shorten(one.other, 40)}")
    return [shorten(one.prompt, 30), number(one.amount, 2), str(one.row), " ~ ".join(one.objectives), texts]


def disagreement_report(scored: ScoredRows, *, top: int = 20) -> DisagreementReport:
    """Rank rows by how much heads disagree with each other and with labels.

    Args:
        scored (`ScoredRows`): of `score_rows`.
        top (`int`, *optional*, defaults to 20): how many of each list; a pair of texts appears once in the conflicts, however many annotators labelled it.
    """
    amounts, which, shares = head_conflicts(scored.differences, scored.objectives)
    seen: set[tuple[int, int]] = set()
    conflicts: list[Disagreement] = []
    for i in np.argsort(-amounts, kind="stable"):
        texts = (int(min(scored.a[i], scored.b[i])), int(max(scored.a[i], scored.b[i])))
        if len(conflicts) == top or not amounts[i] > 0:
            break
        if texts not in seen:
            seen.add(texts)
            names = tuple(scored.objectives[k] for k in which[i])
            conflicts.append(_of_pair(scored, int(i), "conflict", float(amounts[i]), names))
    pair_nats = surprise_of_pairs(scored.differences, scored.labels)
    rating_nats = surprise_of_ratings(scored.scores[scored.text], scored.ratings)
    ranked = [(float(pair_nats[i, k]), True, int(i), int(k)) for i, k in np.argwhere(pair_nats > 0)]
    ranked += [(float(rating_nats[i, k]), False, int(i), int(k)) for i, k in np.argwhere(rating_nats > 0)]
    ranked.sort(key=lambda entry: (-entry[0], not entry[1], *entry[2:]))
    surprises = [
        (_of_pair if is_pair else _of_rating)(scored, i, "surprise", nats, (scored.objectives[k],))
        for nats, is_pair, i, k in ranked[:top]
    ]
    return DisagreementReport(tuple(conflicts), tuple(surprises), shares)


def head_conflicts(
    differences: Floats, objectives: Sequence[str]
) -> tuple[Floats, list[tuple[int, int]], dict[str, float]]:
    """The strongest conflict of each pair.

    Args:
        differences (`NDArray`): `[N, K]`; NaN = not known, in conflict with nothing.
        objectives (`Sequence[str]`): K names.

    Returns:
        `[N]` amounts in standard units, the two heads of each, and by pair of heads the share of pairs that they rank in opposite ways.
    """
    amounts, which = np.zeros(len(differences)), [(0, 0)] * len(differences)
    shares = {}
    for j, k in combinations(range(len(objectives)), 2):
        known = ~np.isnan(differences[:, [j, k]]).any(axis=1)
        if not known.any():
            continue
        one, two = (_in_units(differences[:, i]) for i in (j, k))
        opposed = known & (one * two < 0)
        shares[f"{objectives[j]} ~ {objectives[k]}"] = float(opposed.sum() / known.sum())
        size = np.where(opposed, np.minimum(np.abs(one), np.abs(two)), 0.0)
        for i in np.flatnonzero(size > amounts):
            amounts[i], which[i] = size[i], (j, k)
    return amounts, which, shares


def surprise_of_pairs(differences: Floats, labels: Floats) -> Floats:
    """`[N, K]` nats: the divergence of σ(Δ) from the label; NaN where either is not known."""
    # log σ(Δ) and log σ(−Δ), so that a certain head and a contradicting label give |Δ| and not infinity.
    with np.errstate(invalid="ignore"):  # NaN = not known
        log_q, log_not = -np.logaddexp(0, -differences), -np.logaddexp(0, differences)
    found = xlogy(labels, labels) + xlog1py(1 - labels, -labels) - labels * log_q - (1 - labels) * log_not
    return np.maximum(found, 0.0)


def surprise_of_ratings(scores: Floats, ratings: Floats) -> Floats:
    """`[M, K]` nats, from the residuals about each head's least-squares line; NaN where score or rating is not known."""
    found = np.full(ratings.shape, np.nan)
    for k in range(ratings.shape[1]):
        known = ~(np.isnan(scores[:, k]) | np.isnan(ratings[:, k]))
        s, y = scores[known, k], ratings[known, k]
        if len(s) < 3:
            continue
        centred = s - s.mean()
        size = float(centred @ centred)
        residual = y - y.mean() - (centred * float(centred @ y) / size if size > 0 else 0.0)
        spread = float((residual**2).mean())
        found[known, k] = residual**2 / (2 * spread) if spread > 0 else 0.0
    return found


def _in_units(d: Floats) -> Floats:
    scale = float(np.sqrt(np.nanmean(d**2)))
    return np.nan_to_num(d / scale if scale > 0 else d)


def _of_pair(scored: ScoredRows, i: int, kind: str, amount: float, names: tuple[str, ...]) -> Disagreement:
    a, b = int(scored.a[i]), int(scored.b[i])
    return Disagreement(
        kind,
        amount,
        scored.pair_rows[i],
        names,
        plain_text(scored.prompts[a]),
        plain_text(scored.completions[a]),
        plain_text(scored.completions[b]),
        _named(scored, scored.scores[a]),
        _named(scored, scored.scores[b]),
        {name: value for name, value in _named(scored, scored.labels[i]).items() if not np.isnan(value)},
        scored.pair_users[i],
    )


def _of_rating(scored: ScoredRows, i: int, kind: str, amount: float, names: tuple[str, ...]) -> Disagreement:
    text = int(scored.text[i])
    return Disagreement(
        kind,
        amount,
        scored.rating_rows[i],
        names,
        plain_text(scored.prompts[text]),
        plain_text(scored.completions[text]),
        None,
        _named(scored, scored.scores[text]),
        None,
        {name: value for name, value in _named(scored, scored.ratings[i]).items() if not np.isnan(value)},
        scored.rating_users[i],
    )


def _named(scored: ScoredRows, values: Floats) -> dict[str, float]:
    return dict(zip(scored.objectives, values.tolist(), strict=True))
