r"""Ask whether preferences go round in circles more often than noise alone makes them, so that no single score could explain them.

A triad (a, b, c) of completions of one prompt whose three pairs are labelled is cyclic if a beats b, b beats c and c beats a ([Kendall & Babington Smith, 1940](https://doi.org/10.1093/biomet/31.3-4.324)).
Noise makes cycles too: with Bradley-Terry probabilities the chance is $p_{ab}\, p_{bc}\, p_{ca} + p_{ba}\, p_{cb}\, p_{ac}$, 1/4 among equals. So the observed share is compared with labels drawn
from a Bradley-Terry model in the same design (same pairs, as many labels on each, ties where they are):

- with a head's probabilities σ(Δ), mixed with label noise ε: is what the head says enough to explain the cycles?
- or, without a head, with strengths $\theta \sim N(0, \tau^2)$ in every prompt, τ of the largest marginal likelihood (exact up to 8 completions by quasi-Monte Carlo integration, Laplace's approximation beyond);
  each draw takes τ from its likelihood over a grid. The strengths are drawn anew, so that the test knows nothing of which completion is better.

The p-value is the share of draws with at least as many cycles. What can't be known: with *one* label on each pair any share up to 1/4 is explained by strengths that lie close enough together; only labels on the same
pair by several people (or a head) separate noise from circles (`decisive`).

A share that is too large calls for a general preference model ([Zhang et al., 2024](https://huggingface.co/papers/2410.02197)): `reward_heads.general_preference`.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, ndtri
from scipy.stats import qmc

from frontier.errors import InputError
from reward_heads.diagnose.intervals import (
    DEFAULT,
    Floats,
    Ints,
    Resampling,
    cluster_ids,
    column,
    multiplicities,
    percentiles,
)
from reward_heads.diagnose.report import Estimate, Report, number
from reward_heads.diagnose.scored import ScoredRows

_TAUS = np.exp(np.linspace(math.log(0.1), math.log(10.0), 16))
_EXACT, _POINTS = 8, 512


@dataclass(frozen=True)
class Intransitivity(Report):
    """Cycles in labelled comparisons.

    Args:
        objective (`str`): whose labels.
        observed (`Estimate`): share of decided triads that are cyclic, with the bootstrap's interval over prompts.
        expected (`Estimate`): the same share in labels drawn from Bradley-Terry: mean and central 95 % (or the level) of the draws.
        p_value (`float`): share of draws with at least the observed share.
        triads (`int`): with three labelled pairs and no tied one.
        prompts (`int`): with such a triad.
        labels_per_pair (`float`): mean.
        null (`str`): `"head"` or `"strengths"`.
        spread (`float`): τ, nats; NaN with a head.
        decisive (`bool`): whether shares below 1/4 could be found too large.
        finding (`str`): in plain words.
    """

    objective: str
    observed: Estimate
    expected: Estimate
    p_value: float
    triads: int
    prompts: int
    labels_per_pair: float
    null: str
    spread: float
    decisive: bool
    finding: str

    def table(self) -> str:
        """Observed and expected share, and what follows."""
        return (
            f"{self.objective or 'labels'}: {self.observed} of {self.triads} triads are cyclic, {self.expected} expected ({self.null}), p = {number(self.p_value)}\n"
            + self.finding
        )


@dataclass(frozen=True)
class _Design:
    """Votes by distinct pair: `[P]` positions of items `a`, `b`, prompt, votes for a, votes in all (without ties); `[T, 3]` pairs of triads and signs."""

    a: Ints
    b: Ints
    prompt: Ints
    wins: Ints
    votes: Ints
    triads: Ints
    signs: Ints
    n_items: int

    def cycles(self, wins: Ints) -> tuple[Floats, Floats]:
        """`[..., T]` wins to which triads are decided, and which of those are cyclic."""
        sign = np.sign(2 * wins - self.votes)[..., self.triads] * self.signs
        decided = (sign != 0).all(-1)
        return decided.astype(float), (decided & (np.abs(sign.sum(-1)) == 3)).astype(float)


def cycle_report(
    scored: ScoredRows, objective: str, *, use_head: bool = False, noise: float = 0.0, how: Resampling = DEFAULT
) -> Intransitivity:
    """Test the labels of one objective.

    Args:
        scored (`ScoredRows`): of `score_rows`.
        objective (`str`): whose labels.
        use_head (`bool`, *optional*, defaults to `False`): compare with the head's probabilities instead of unknown strengths.
        noise (`float`, *optional*, defaults to 0.0): flip rate ε of labels, such as `noise_report`'s.
        how (`Resampling`, *optional*): how many draws, their seed, the level.

    Raises:
        InputError: an unknown objective, or see [`cycle_test`].
    """
    k = scored.index(objective)
    strengths = scored.scores[:, k] if use_head else None
    return cycle_test(
        scored.prompt_of[scored.a],
        scored.a,
        scored.b,
        scored.labels[:, k],
        strengths=strengths,
        noise=noise,
        objective=objective,
        how=how,
    )


def cycle_test(
    prompts: Sequence[Hashable] | Ints,
    first: Sequence[Hashable] | Ints,
    second: Sequence[Hashable] | Ints,
    labels: ArrayLike,
    *,
    strengths: Floats | None = None,
    noise: float = 0.0,
    objective: str = "",
    how: Resampling = DEFAULT,
) -> Intransitivity:
    """Test whether labels are more cyclic than a Bradley-Terry model makes them.

    Args:
        prompts (`Sequence`): `[N]`, only completions of one prompt are compared.
        first (`Sequence`): `[N]`, the completion that stands first.
        second (`Sequence`): `[N]`, the other. With `strengths`, both are positions in it.
        labels (`ArrayLike`): `[N]`, above 0.5 if the first is better, 0.5 = tie (which keeps its place in the design), NaN = missing. Several rows may label one pair.
        strengths (`NDArray`, *optional*): scores in nats; by default they are unknown. Pairs with a score that is NaN are left out.
        noise (`float`, *optional*, defaults to 0.0): flip rate ε of labels, in [0, 0.5).
        objective (`str`, *optional*): the name in the result.
        how (`Resampling`, *optional*): how many draws, their seed, the level.

    Raises:
        InputError: lengths differ, no triad of completions has all three pairs labelled, or a number is out of range.
    """
    if not 0 <= noise < 0.5:
        raise InputError(f"noise must be in [0, 0.5), found {noise}")
    if not how.resamples:
        raise InputError("the test draws labels: resamples must be positive")
    given = None if strengths is None else np.asarray(strengths, dtype=np.float64)
    design, items = _design(prompts, first, second, labels, given)
    decided, cyclic = design.cycles(design.wins)
    if not decided.any():
        raise InputError(
            f"objective '{objective}': no three completions of a prompt have all their pairs labelled without a tie{' and known scores' if given is not None else ''}: nothing could be cyclic"
        )
    share = float(cyclic.sum() / decided.sum())
    rng = np.random.default_rng(how.seed)
    tau = math.nan
    if given is not None:
        known = given[np.array(items)]
        margins = np.broadcast_to(known[design.a] - known[design.b], (how.resamples, len(design.a)))
    else:
        weights = _spread_weights(design, noise)
        taus = rng.choice(_TAUS, size=how.resamples, p=weights)
        tau = float(_TAUS[int(np.argmax(weights))])
        drawn = rng.standard_normal((how.resamples, design.n_items)) * taus[:, None]
        margins = drawn[:, design.a] - drawn[:, design.b]
    chances = (1 - 2 * noise) * expit(margins) + noise
    found = [design.cycles(wins) for wins in rng.binomial(design.votes, chances)]
    shares = np.array([c.sum() / d.sum() if d.any() else math.nan for d, c in found])
    shares = shares[~np.isnan(shares)]
    p_value = float((1 + (shares >= share - 1e-12).sum()) / (1 + len(shares)))
    low, high = percentiles(shares, how.level)
    expected = Estimate(float(shares.mean()), float(low), float(high))
    prompt_of = design.prompt[design.triads[:, 0]]
    per_pair = float(design.votes[design.votes > 0].mean())
    decisive = strengths is not None or per_pair >= 1.5
    result = Intransitivity(
        objective,
        _observed(decided, cyclic, prompt_of, how),
        expected,
        p_value,
        int(decided.sum()),
        len(np.unique(prompt_of[decided > 0])),
        per_pair,
        "head" if strengths is not None else "strengths",
        tau,
        decisive,
        "",
    )
    return Intransitivity(**{**vars(result), "finding": _finding(result)})


def _design(
    prompts: Sequence[Hashable] | Ints,
    first: Sequence[Hashable] | Ints,
    second: Sequence[Hashable] | Ints,
    labels: ArrayLike,
    strengths: Floats | None,
) -> tuple[_Design, list[Hashable]]:
    y = column(labels, "labels")
    groups = cluster_ids(prompts, len(y))
    listed = [values.tolist() if hasattr(values, "tolist") else list(values) for values in (first, second)]
    if len(listed[0]) != len(y) or len(listed[1]) != len(y):
        raise InputError(
            f"one pair per label: found {len(listed[0])} and {len(listed[1])} completions for {len(y)} labels"
        )
    if strengths is not None:
        one, two = (np.array(values, dtype=np.int64) for values in listed)
        # What a head does not know it does not call a coin flip: such a pair is no part of the design.
        y = np.where(np.isnan(strengths[one] - strengths[two]), np.nan, y)
    at: dict[tuple[int, Hashable], int] = {}
    pairs: dict[tuple[int, int], list[int]] = {}
    for group, i_name, j_name, label in zip(groups.tolist(), *listed, y.tolist(), strict=True):
        if math.isnan(label) or i_name == j_name:
            continue
        i, j = (at.setdefault((group, item), len(at)) for item in (i_name, j_name))
        tally = pairs.setdefault((min(i, j), max(i, j)), [0, 0, group])
        if label != 0.5:
            tally[0] += int((label > 0.5) == (i < j))
            tally[1] += 1
    index = {pair: p for p, pair in enumerate(pairs)}
    beside: dict[int, set[int]] = {}
    for i, j in pairs:
        beside.setdefault(i, set()).add(j)
    triads = [
        (index[i, j], index[j, k], index[i, k])
        for i in beside
        for j, k in combinations(sorted(beside[i]), 2)
        if (j, k) in index
    ]
    a, b = np.array(list(pairs), dtype=np.int64).reshape(-1, 2).T
    wins, votes, prompt = np.array(list(pairs.values()), dtype=np.int64).reshape(-1, 3).T
    found = np.array(triads, dtype=np.int64).reshape(-1, 3)
    # i over j, j over k, k over i: the third pair is stored as (i, k).
    return _Design(a, b, prompt, wins, votes, found, np.array([1, 1, -1]), len(at)), [item for _, item in at]


def _spread_weights(design: _Design, noise: float) -> Floats:
    """Likelihood of every τ of the grid, normalised, with all strengths integrated out prompt by prompt."""
    total = np.zeros(len(_TAUS))
    by_size: dict[int, list[tuple[Ints, Ints, Ints, Ints]]] = {}
    order = np.argsort(design.prompt, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(design.prompt[order])) + 1):
        items, local = np.unique(np.stack([design.a[rows], design.b[rows]]), return_inverse=True)
        a, b = local.reshape(2, -1)
        wins, losses = design.wins[rows], design.votes[rows] - design.wins[rows]
        by_size.setdefault(len(items), []).append((a, b, wins, losses))
    for size, prompts in by_size.items():
        points = ndtri(np.clip(qmc.Sobol(size, seed=0).random(_POINTS), 1e-6, 1 - 1e-6)) if size <= _EXACT else None
        for a, b, wins, losses in prompts:
            if points is not None:
                total += _integrated(points, a, b, wins, losses, noise)
            else:
                total += np.array([_laplace(size, a, b, wins, losses, tau, noise) for tau in _TAUS])
    return np.exp(total - logsumexp(total))


def _integrated(points: Floats, a: Ints, b: Ints, wins: Ints, losses: Ints, noise: float) -> Floats:
    margins = points[:, a] - points[:, b]
    chances = (1 - 2 * noise) * expit(_TAUS[:, None, None] * margins) + noise
    chances = np.clip(chances, 1e-12, 1 - 1e-12)
    return logsumexp(np.log(chances) @ wins + np.log1p(-chances) @ losses, axis=1) - math.log(len(points))


def _laplace(size: int, a: Ints, b: Ints, wins: Ints, losses: Ints, tau: float, noise: float) -> float:
    """Log marginal likelihood about the most likely strengths; the noise enters as flipped labels that shrink every margin's information."""
    theta = np.zeros(size)
    for _ in range(50):
        q = expit(theta[a] - theta[b])
        p = (1 - 2 * noise) * q + noise
        slope_p = (1 - 2 * noise) * q * (1 - q)
        pull = (wins / p - losses / (1 - p)) * slope_p
        information = (wins + losses) * slope_p**2 / (p * (1 - p))
        gradient = np.bincount(a, pull, minlength=size) - np.bincount(b, pull, minlength=size) - theta / tau**2
        hessian = np.diag(np.full(size, 1 / tau**2))
        np.add.at(hessian, (a, a), information)
        np.add.at(hessian, (b, b), information)
        np.add.at(hessian, (a, b), -information)
        np.add.at(hessian, (b, a), -information)
        step = np.clip(np.linalg.solve(hessian, gradient), -3.0, 3.0)
        theta = theta + step
        if np.abs(step).max() < 1e-8:
            break
    q = expit(theta[a] - theta[b])
    p = np.clip((1 - 2 * noise) * q + noise, 1e-12, 1 - 1e-12)
    fit = float((wins * np.log(p) + losses * np.log1p(-p)).sum())
    return fit - float(theta @ theta) / (2 * tau**2) - size * math.log(tau) - 0.5 * float(np.linalg.slogdet(hessian)[1])


def _observed(decided: Floats, cyclic: Floats, prompt_of: Ints, how: Resampling) -> Estimate:
    ids = cluster_ids(prompt_of, len(prompt_of))
    decided_by, cyclic_by = np.bincount(ids, decided), np.bincount(ids, cyclic)
    share = float(cyclic.sum() / decided.sum())
    if len(decided_by) < 2:
        return Estimate(share)
    drawn = multiplicities(len(decided_by), how)
    counts = drawn @ decided_by
    low, high = percentiles(
        np.divide(drawn @ cyclic_by, counts, out=np.full(len(counts), np.nan), where=counts > 0), how.level
    )
    return Estimate(share, float(low), float(high))


def _finding(r: Intransitivity) -> str:
    if r.p_value < 0.05:
        return f"More cycles than noise explains ({r.observed.value:.1%} against {r.expected.value:.1%}): no single score fits these preferences; try the general preference model."
    text = f"No more cycles than noise explains ({r.observed.value:.1%} against {r.expected.value:.1%}): one score per objective is enough."
    if not r.decisive:
        text += " But with one label on each pair any share up to 25 % can be noise: several labels on the same pairs would tell."
    return text
