"""Simulated annotators with planted tastes: are groups, weights and low-rank tastes found, do intervals cover, and do chosen questions spare answers?"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.report import Row, at_least, at_most
from benchmarks.reward_heads.context import Context
from reward_heads.users import (
    LowRankConfig,
    LowRankUsers,
    Population,
    UserGroupsConfig,
    fit_feature_groups,
    fit_low_rank_users,
    fit_objective_users,
    next_pair,
)
from reward_heads.users.objective_users import ObjectiveUsers
from reward_heads.users.simplex_users import SeenUsers

NAMES = ("helpful", "harmless", "brief", "warm")
TEMPERATURE, TEMPERATURE_SPREAD = (
    2.0,
    0.3,
)  # log of nats per standard deviation of the weighted score, and users' spread
ANSWERS = (0, 1, 2, 5, 10, 20, 50)
POOL, TEST, ASKED, COMPARED = 100, 400, 18, (20, 25, 30)


class Crowd(NamedTuple):
    """Simulated users.

    Args:
        differences (`Tensor`): `[H, n, K]`, standard normal.
        labels (`Tensor`): `[H, n]`.
        weights (`Tensor`): `[H, K]`, the truth.
        agreement (`float`): share of answers that follow the user's true taste.
    """

    differences: Tensor
    labels: Tensor
    weights: Tensor
    agreement: float

    def flat(self) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Features of a and b, labels and users, one row per pair."""
        users, pairs, _ = self.differences.shape
        x = self.differences.flatten(0, 1)
        return x, torch.zeros_like(x), self.labels.flatten(), [f"u{i}" for i in range(users) for _ in range(pairs)]


def rows(context: Context) -> list[Row]:
    """Rand, correlation of weights and of low-rank tastes, coverage, pairs spared by chosen questions."""
    quick = context.quick
    seeds = range(1 if quick else 5)
    users, lowrank_users = (60, 40) if quick else (300, 300)
    found = [_rand(seeds), *_weights(seeds, users)]
    found += _low_rank(range(1 if quick else 3), lowrank_users)
    for population in ("normal", "dirichlet2", "dirichlet1"):
        found.append(_coverage(seeds, population, users, 70 if quick else 602))
    return [*found, _active(6 if quick else 200)]


def _rand(seeds: Sequence[int]) -> Row:
    from sklearn.metrics import adjusted_rand_score, rand_score

    plain, adjusted = [], []
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        group = torch.arange(60) % 3
        tastes = 3 * torch.nn.functional.normalize(torch.randn(3, 6, generator=draw, dtype=torch.float64), dim=1)
        crowd = _answers(tastes[group], 30, draw)
        groups = fit_feature_groups(*crowd.flat(), UserGroupsConfig(max_groups=4, seed=seed))
        assigned = [groups.assign(f"u{i}") for i in range(60)]
        plain.append(rand_score(group.tolist(), assigned))
        adjusted.append(adjusted_rand_score(group.tolist(), assigned))
    mean, interval = _over_seeds(plain)
    what = (
        "Rand index of groups found, their number chosen on held-out pairs: 3 planted groups of 20 users, 30 pairs each, 6 features; "
        f"adjusted Rand {sum(adjusted) / len(adjusted):.3f}; interval over {len(plain)} seeds"
    )
    interval = None if interval is None else [interval[0], min(1.0, interval[1])]
    return Row("users.rand", what, mean, interval=interval, **at_least(0.95, mean))


def _weights(seeds: Sequence[int], users: int) -> list[Row]:
    found = []
    for name, objectives, bar in (("users.weights.correlation", 3, True), ("users.weights.correlation.four", 4, False)):
        values, agreement = [], 0.0
        for seed in seeds:
            crowd = _crowd(users, 50, objectives, "normal", seed)
            agreement += crowd.agreement / len(seeds)
            model = fit_objective_users(*crowd.flat(), NAMES[:objectives])
            values.append(_correlation(model.seen.means, crowd.weights))
        mean, interval = _over_seeds(values)
        what = (
            f"estimated and true weights of {users} users with 50 pairs each, over users and objectives, each objective's mean taken off; {objectives} known objectives, "
            f"logistic-normal population of unit spread, standard normal score differences, temperature e^2 ± 0.3 (unknown): {agreement:.0%} of answers follow the true taste; interval over seeds"
        )
        found.append(Row(name, what, mean, interval=interval, **(at_least(0.95, mean) if bar else {})))
    return found


def _low_rank(seeds: Sequence[int], users: int) -> list[Row]:
    tastes, raw, covered, ranks = [], [], [], []
    agreement = 0.0
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        bases = 6 * torch.nn.functional.normalize(torch.randn(16, 3, generator=draw, dtype=torch.float64), dim=0)
        truth = _dirichlet(2 * users, 3, 0.3, seed) @ bases.T
        crowd = _answers(truth[:users], 50, draw)
        agreement += crowd.agreement / len(seeds)
        model = fit_low_rank_users(*crowd.flat(), LowRankConfig(seed=seed))
        ranks.append(len(model.names))
        guess = model.seen.means @ model.bases.T
        tastes.append(_correlation(guess, truth[:users]))
        raw.append(float(torch.nn.functional.cosine_similarity(guess, truth[:users]).mean()))
        covered.append(_margins_covered(model, truth[users:], draw))
    mean, interval = _over_seeds(tastes)
    setting = f"3 bases of 6 nats in 16 features, Dirichlet(0.3) weights, {users} users, 50 pairs each ({agreement:.0%} of answers follow the true taste)"
    what = (
        f"estimated and true tastes V w over users and features, each feature's mean over users taken off; {setting}; mean cosine {sum(raw) / len(raw):.3f}; "
        f"ranks chosen of 1 to 4: {ranks}; interval over seeds"
    )
    coverage, spread = _over_seeds(covered)
    of_margins = f"90 % intervals of log-odds of new pairs, users that the bases were not learned from, 0 to 50 answers; {setting}; what is not known of the bases is not in the interval"
    return [
        Row("users.lowrank.correlation", what, mean, interval=interval, **at_least(0.95, mean)),
        Row("users.lowrank.coverage90", of_margins, coverage, interval=spread),
    ]


def _margins_covered(model: LowRankUsers, tastes: Tensor, draw: torch.Generator) -> float:
    crowd = _answers(tastes, 50, draw)
    asked = torch.randn(20, tastes.shape[1], generator=draw, dtype=torch.float64)
    inside = []
    for user, taste in enumerate(tastes):
        n = ANSWERS[user % len(ANSWERS)]
        known = model.posterior_of(model.components(crowd.differences[user, :n]), crowd.labels[user, :n])
        low, high = torch.quantile(
            known.margins(model.components(asked)), torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0
        )
        truth = asked @ taste
        inside.append(((truth >= low) & (truth <= high)).double().mean())
    return float(torch.stack(inside).mean())


def _coverage(seeds: Sequence[int], population: str, users: int, new: int) -> Row:
    values: list[float] = []
    by_n: dict[int, list[float]] = {n: [] for n in ANSWERS}
    for seed in seeds:
        model = fit_objective_users(*_crowd(users, 30, 3, population, seed).flat(), NAMES[:3])
        crowd = _crowd(new, 50, 3, population, 1000 + seed)
        covered = []
        for user in range(new):
            n = ANSWERS[user % len(ANSWERS)]
            ends = model.posterior_of(crowd.differences[user, :n], crowd.labels[user, :n]).interval(0.9)
            truth = crowd.weights[user]
            covered.append(float(((truth >= ends[:, 0]) & (truth <= ends[:, 1])).double().mean()))
            by_n[n].append(covered[-1])
        values.append(sum(covered) / new)
    mean, interval = _over_seeds(values)
    label, row_id = {
        "normal": ("logistic normal, the family that is fitted", "users.coverage90"),
        "dirichlet2": ("Dirichlet(2), another family than the fitted one", "users.coverage90.misspecified"),
        "dirichlet1": ("uniform on the simplex: sharp edges that the fitted family lacks", "users.coverage90.uniform"),
    }[population]
    each = ", ".join(f"{n}: {sum(v) / len(v):.3f}" for n, v in by_n.items())
    what = (
        f"90 % intervals of {new} new users' weights per seed, 3 known objectives, population ({label}) learned from {users} others with 30 pairs; "
        f"by number of answers {each}; interval over seeds"
    )
    return Row(row_id, what, mean, interval=interval, bar="0.87..0.93", holds=0.87 <= mean <= 0.93)


def _active(users: int) -> Row:
    k, size = 4, POOL
    prior = Population(NAMES, *_normal(k), None)
    nobody = SeenUsers((), torch.empty(0).long(), torch.empty(0, k), torch.empty(0, k, 2))
    model = ObjectiveUsers(prior, nobody, draws=500)
    active, random = torch.zeros(users, ASKED + 1), torch.zeros(users, len(COMPARED))
    for user in range(users):
        crowd = _crowd(1, size + TEST, k, "normal", 5000 + user)
        x, labels = crowd.differences[0], crowd.labels[0]
        truth = (x[size:] @ crowd.weights[0]) > 0

        def accuracy(pairs: Sequence[int], x: Tensor = x, labels: Tensor = labels, truth: Tensor = truth) -> tuple:
            known = model.posterior_of(x[list(pairs)], labels[list(pairs)])
            return known, float(((known.prefers(x[size:]) > 0.5) == truth).double().mean())

        asked: list[int] = []
        for step in range(ASKED + 1):
            known, active[user, step] = accuracy(asked)
            asked.append(next_pair(known, x[:size], asked=asked).pair)
        for column, n in enumerate(COMPARED):
            random[user, column] = accuracy(range(n))[1]
    values = [_ratio(active.mean(0), float(random[:, c].mean()), n) for c, n in enumerate(COMPARED)]
    draw = torch.Generator().manual_seed(0)
    resampled = []
    for _ in range(200):
        rows = torch.randint(users, (users,), generator=draw)
        means = random[rows].mean(0)
        resampled.append(_ratio(active[rows].mean(0), float(means[-1]), COMPARED[-1]))
    ends = torch.tensor(resampled).quantile(torch.tensor([0.025, 0.975])).tolist()
    what = (
        f"questions that next_pair needs for the accuracy that {COMPARED[-1]} random ones reach ({random[:, -1].mean():.3f} of new pairs ranked by the true taste), over {COMPARED[-1]}; "
        f"{users} users, {POOL} candidate pairs each, {k} objectives; with {COMPARED[0]} and {COMPARED[1]} random ones the ratio is {values[0]:.2f} and {values[1]:.2f}; interval over users"
    )
    return Row("users.active.ratio", what, values[-1], interval=ends, **at_most(0.6, values[-1]))


def _ratio(active: Tensor, level: float, n: int) -> float:
    """Questions after which the accuracy is first reached, over n; 1 if it isn't within what was asked."""
    reached = (active >= level).nonzero()
    return int(reached[0]) / n if len(reached) else 1.0


def _crowd(users: int, pairs: int, objectives: int, population: str, seed: int) -> Crowd:
    draw = torch.Generator().manual_seed(seed)
    prior = Population(NAMES[:objectives], *_normal(objectives), None)
    theta = prior.mean + torch.randn(users, objectives, generator=draw, dtype=torch.float64) @ prior.covariance.sqrt()
    weights, temperature = prior.weights(theta), prior.temperature(theta)
    if population != "normal":
        weights = _dirichlet(users, objectives, float(population.removeprefix("dirichlet")), seed)
    return _answers(temperature * weights, pairs, draw)._replace(weights=weights)


def _normal(objectives: int) -> tuple[Tensor, Tensor]:
    """Mean and (diagonal) covariance of the planted population."""
    mean, spread = torch.zeros(objectives, dtype=torch.float64), torch.ones(objectives, dtype=torch.float64)
    mean[-1], spread[-1] = TEMPERATURE, TEMPERATURE_SPREAD**2
    return mean, torch.diag(spread)


def _dirichlet(users: int, width: int, concentration: float, seed: int) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.distributions.Dirichlet(torch.full((width,), concentration).double()).sample((users,))


def _answers(tastes: Tensor, pairs: int, draw: torch.Generator) -> Crowd:
    x = torch.randn(len(tastes), pairs, tastes.shape[1], generator=draw, dtype=torch.float64)
    margins = torch.einsum("hnk,hk->hn", x, tastes)
    labels = (torch.rand(margins.shape, generator=draw, dtype=torch.float64) < torch.sigmoid(margins)).double()
    return Crowd(x, labels, tastes, float(((margins > 0) == (labels > 0.5)).double().mean()))


def _correlation(found: Tensor, truth: Tensor) -> float:
    """Over users and columns, each column's mean over users taken off: knowing the population earns nothing."""
    both = torch.stack([(values - values.mean(dim=0)).flatten() for values in (found, truth)])
    return float(torch.corrcoef(both)[0, 1])


def _over_seeds(values: Sequence[float]) -> tuple[float, list[float] | None]:
    """Mean, and 95 % interval of the mean over seeds (Student's t)."""
    from scipy.stats import t

    seen = torch.tensor(list(values), dtype=torch.float64)
    if len(seen) < 2:
        return float(seen.mean()), None
    half = float(t.ppf(0.975, len(seen) - 1) * seen.std() / len(seen) ** 0.5)
    return float(seen.mean()), [float(seen.mean()) - half, float(seen.mean()) + half]
