r"""Find the true label of pairs that several annotators labelled, and how reliable each of them is, without any head.

The one-coin model of [Dawid & Skene, 1979](https://doi.org/10.2307/2346806): pair u has a true order $z_u$ (prior 1/2, since pairs have no order, or a head's probability), and annotator h reports it wrongly
with probability $\epsilon_h$. **EM.** E: with the labels of a pair independent given its order,
$P(z_u = a) \propto \pi_u \prod_i (1 - \epsilon_{h_i})^{[y_i = a]}\, \epsilon_{h_i}^{[y_i = b]}$. M: $\epsilon_h$ is the mean probability that h's labels are wrong, pulled towards everybody's by `prior_strength`
labels. A coin and not a full confusion matrix: with the order of a and b arbitrary, confusing a with b and b with a are the same.

Two labels per pair tell only the sum of two error rates; three are needed (`identifiable`). Ties take no side and are left out.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from frontier.errors import InputError
from reward_heads.diagnose.agreement import pair_units
from reward_heads.diagnose.intervals import Floats, Ints, cluster_ids, column
from reward_heads.diagnose.noise import AnnotatorNoise, shrunk_rates
from reward_heads.diagnose.report import Report, number, text_table
from reward_heads.diagnose.scored import ScoredRows


@dataclass(frozen=True)
class DawidSkene(Report):
    """What [`fit_dawid_skene`] found.

    Args:
        rate (`float`): mean flip rate of all labels.
        annotators (`tuple[AnnotatorNoise, ...]`): the noisiest first; the interval takes the other annotators' opinion of each pair as it is.
        probabilities (`tuple[float, ...]`): of each unit, that its first completion is truly better, in the order in which units first appear.
        n (`int`): labels used.
        labels_per_unit (`float`): mean.
        identifiable (`bool`): whether enough units have three labels.
    """

    rate: float
    annotators: tuple[AnnotatorNoise, ...]
    probabilities: tuple[float, ...]
    n: int
    labels_per_unit: float
    identifiable: bool

    def table(self) -> str:
        """The mean rate and the noisiest annotators."""
        sure = float(np.mean([max(p, 1 - p) for p in self.probabilities])) if self.probabilities else float("nan")
        lines = [
            f"flip rate {number(self.rate)} over {self.n} labels, {self.labels_per_unit:.1f} per pair; true order known with {number(sure)} on average",
            text_table(["noisiest", "flip rate", "n"], [[a.user, str(a.rate), a.n] for a in self.annotators[:10]]),
        ]
        if not self.identifiable:
            lines.append("too few pairs have three labels: the rates of single annotators are not identified")
        return "\n".join(lines)


def dawid_skene_report(
    scored: ScoredRows, objective: str, *, use_head: bool = False, prior_strength: float = 2.0
) -> DawidSkene:
    """The same, from scored rows with a `user`.

    Args:
        scored (`ScoredRows`): of `score_rows`.
        objective (`str`): whose labels.
        use_head (`bool`, *optional*, defaults to `False`): take σ(Δ) of the head as the prior of each pair, as if it were one more annotator.
        prior_strength (`float`, *optional*, defaults to 2.0): see [`fit_dawid_skene`].

    Raises:
        InputError: an unknown objective, or see [`fit_dawid_skene`].
    """
    k = scored.index(objective)
    units, labels = pair_units(scored, k)
    keep = np.array([user is not None for user in scored.pair_users], dtype=bool) & ~np.isnan(labels) & (labels != 0.5)
    ids = cluster_ids(units[keep], int(keep.sum()))
    prior = None
    if use_head and len(ids):
        turned = np.where(scored.a > scored.b, -1.0, 1.0) * scored.differences[:, k]
        prior = np.full(int(ids.max()) + 1, 0.5)
        prior[ids] = np.nan_to_num(expit(turned[keep]), nan=0.5)
    users = [user for user, kept in zip(scored.pair_users, keep, strict=True) if kept]
    return fit_dawid_skene(ids, users, labels[keep], prior=prior, prior_strength=prior_strength)


def fit_dawid_skene(
    units: Sequence[Hashable] | Ints,
    users: Sequence[Hashable],
    labels: ArrayLike,
    *,
    prior: Floats | None = None,
    prior_strength: float = 2.0,
) -> DawidSkene:
    """Estimate true orders and flip rates by EM.

    Args:
        units (`Sequence`): `[N]`, which pair each label is of.
        users (`Sequence`): `[N]`, who gave it.
        labels (`ArrayLike`): `[N]`, above 0.5 if the unit's first completion is better, in the same order for all labels of a unit; NaN = missing, 0.5 = tie.
        prior (`NDArray`, *optional*): `[units]`, probability that the first completion is better; by default 1/2.
        prior_strength (`float`, *optional*, defaults to 2.0): equivalent labels that pull each rate towards everybody's.

    Raises:
        InputError: lengths differ or no label takes a side.
    """
    y = column(labels, "labels")
    if len(users) != len(y):
        raise InputError(f"one user per label: found {len(users)} users and {len(y)} labels")
    kept = ~np.isnan(y) & (y != 0.5)
    if not kept.any():
        raise InputError("no label takes a side: all are ties or missing")
    all_units = cluster_ids(units, len(y))
    names = dict.fromkeys(str(user) for user, keep in zip(users, kept, strict=True) if keep)
    at = {name: index for index, name in enumerate(names)}
    user_of = np.array([at[str(user)] for user, keep in zip(users, kept, strict=True) if keep])
    unit_of, up = all_units[kept], y[kept] > 0.5
    n_units = int(all_units.max()) + 1
    start = np.zeros(n_units) if prior is None else logit(np.clip(prior, 1e-6, 1 - 1e-6))
    if len(start) != n_units:
        raise InputError(f"prior must be [{n_units}], one for each unit, found [{len(start)}]")
    rates, evidence = _em(unit_of, user_of, up, start, prior_strength)
    vote = np.where(up, 1.0, -1.0) * logit(1 - rates)[user_of]
    # What everybody else thinks of the label that was given: this annotator's own vote is taken out.
    others = expit(np.where(up, 1.0, -1.0) * (evidence[unit_of] - vote))
    chances = {name: others[user_of == i] for name, i in at.items()}
    weights = {name: np.ones(len(given)) for name, given in chances.items()}
    p = expit(evidence)
    wrong = np.where(up, 1 - p[unit_of], p[unit_of])
    counts = np.bincount(unit_of, minlength=n_units)
    enough = float((counts >= 3).sum()) >= 0.2 * float((counts > 0).sum()) or prior is not None
    annotators = shrunk_rates(chances, weights, float(wrong.mean()))
    mean = float(counts[counts > 0].mean())
    return DawidSkene(float(wrong.mean()), annotators, tuple(p.tolist()), len(up), mean, bool(enough))


def _em(unit_of: Ints, user_of: Ints, up: Ints, start: Floats, strength: float) -> tuple[Floats, Floats]:
    """Rates of users `[H]` and log-odds of units `[U]`."""
    counts = np.bincount(user_of)
    rates = np.full(len(counts), 0.2)
    evidence = start
    for _ in range(1000):
        vote = np.where(up, 1.0, -1.0) * logit(1 - rates)[user_of]
        evidence = start + np.bincount(unit_of, vote, minlength=len(start))
        p = expit(evidence)[unit_of]
        wrong = np.where(up, 1 - p, p)
        following = (np.bincount(user_of, wrong) + strength * wrong.mean()) / (counts + strength)
        # Above 1/2 the roles of right and wrong would be exchanged.
        following = np.clip(following, 1e-4, 0.499)
        if np.abs(following - rates).max() < 1e-8:
            break
        rates = following
    return rates, evidence
