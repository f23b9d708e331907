"""What user models with weights on a simplex have in common: the population, a user's posterior from any number of pairs, and the users that were seen."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.examples import Example, read_examples
from reward_heads.users.posterior import UserPosterior, check_answers
from reward_heads.users.simplex import Population
from reward_heads.users.simplex_posterior import Answers, draw, mode_of, normal_points, refitted, systematic
from reward_heads.users.simplex_smc import tempered

OVERSAMPLING = 4  # weighted draws for each one that is given out
GOOD, POOR = 0.5, 0.05  # shares of effective draws: below, the proposal is refitted, or left for small steps


@dataclass(frozen=True)
class SeenUsers:
    """The users that a model was learned from.

    Args:
        names (`tuple[str, ...]`): H users.
        counts (`Tensor`): `[H]` int64, their labelled pairs.
        means (`Tensor`): `[H, B]` float64, posterior means of their weights.
        intervals (`Tensor`): `[H, B, 2]` float64, 90 % intervals.

    Raises:
        InputError: shapes don't fit.
    """

    names: tuple[str, ...]
    counts: Tensor
    means: Tensor
    intervals: Tensor

    def __post_init__(self) -> None:
        users, bases = len(self.names), self.means.shape[-1]
        shapes = [list(t.shape) for t in (self.counts, self.means, self.intervals)]
        if shapes != [[users], [users, bases], [users, bases, 2]]:
            raise InputError(
                f"{users} users need counts, means and intervals of the same users and bases, found {shapes}"
            )

    def index(self, user: str) -> int:
        """The position of a user.

        Raises:
            InputError: the user was not seen; names the nearest that was.
        """
        user = str(user)
        if user not in self.names:
            near = difflib.get_close_matches(user, self.names, n=1)
            suggestion = f", did you mean '{near[0]}'?" if near else ""
            raise InputError(f"'{user}' is none of the {len(self.names)} users that were learned from{suggestion}")
        return self.names.index(user)


@dataclass(frozen=True)
class SimplexUsers:
    r"""Users whose taste is $\beta w$, w on the simplex over B components; a [`UserModel`] in numbers.

    Args:
        prior (`Population`): of the users; its names are the components.
        seen (`SeenUsers`): those that were learned from.
        objective (`str`, *optional*): under which the labels of rows of pairs stand; `None` = learned from numbers.
        draws (`int`, *optional*, defaults to 2000): S of every posterior.
        seed (`int`, *optional*, defaults to 0): of the draws; equal answers give equal posteriors.
    """

    prior: Population
    seen: SeenUsers
    objective: str | None = None
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seen.means.shape[1] != len(self.names):
            raise InputError(f"weights of {self.seen.means.shape[1]} components for {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The B components."""
        return self.prior.names

    def population(self) -> UserPosterior:
        """What is known of a user before any pair."""
        return self.posterior_of(torch.empty(0, len(self.names)), torch.empty(0))

    def posterior_of(self, differences: Tensor, labels: Tensor) -> UserPosterior:
        """A user's weights after n labelled pairs: importance sampling with its effective number of draws, small steps from the population where that fails.

        Args:
            differences (`Tensor`): `[n, B]`, components of a minus those of b.
            labels (`Tensor`): `[n]`, the probability that a is better; 0.5 counts as half an answer each way; NaN = missing.

        Raises:
            InputError: shapes don't fit, a label is outside [0, 1], or a number is not finite.
        """
        x, p = check_answers(differences, labels, self.names)
        return simplex_posterior(self.prior, x, p, self.draws, self.seed)

    def weights_of(self, user: str) -> dict[str, float]:
        """Component to posterior mean weight of a user that was learned from: a preference over the components.

        Raises:
            InputError: the user was not seen.
        """
        return dict(zip(self.names, self.seen.means[self.seen.index(user)].tolist(), strict=True))

    def interval_of(self, user: str) -> Tensor:
        """`[B, 2]`: 90 % intervals of the weights of a user that was learned from.

        Raises:
            InputError: the user was not seen.
        """
        return self.seen.intervals[self.seen.index(user)]

    def table(self) -> str:
        """The population's weights, for people."""
        found = self.population()
        width = max(map(len, self.names))
        lines = [f"{'':<{width}}  mean   90 % of users"]
        for name, mean, (low, high) in zip(self.names, found.mean.tolist(), found.interval().tolist(), strict=True):
            lines.append(f"{name:<{width}}  {mean:.3f}  {low:.3f} to {high:.3f}")
        return "\n".join(lines)


def simplex_posterior(
    population: Population, differences: Tensor, labels: Tensor, draws: int, seed: int
) -> UserPosterior:
    """The posterior of one user in a population; arguments as of [`SimplexUsers.posterior_of`], checked."""
    names, n = population.names, len(labels)
    if not n or not population.size:
        theta = population.mean + normal_points(draws, population.size, seed) @ _root(population).T
        return UserPosterior(names, population.weights(theta), n, tastes=population.tastes(theta))
    answers = Answers.of(differences, labels, torch.zeros(n, dtype=torch.long), 1)
    base = normal_points(OVERSAMPLING * draws, population.size, seed)[None]
    found = draw(population, answers, mode_of(population, answers), base)
    if POOR * base.shape[1] < float(found.effective) < GOOD * base.shape[1]:
        again = draw(population, answers, refitted(found), base)
        found = again if float(again.effective) > float(found.effective) else found
    if float(found.effective) < POOR * base.shape[1]:
        theta, survivors = tempered(
            population.mean,
            _root(population),
            lambda theta: answers.log_likelihood(population.tastes(theta)[None])[0],
            draws,
            seed,
        )
        return UserPosterior(
            names, population.weights(theta), n, tastes=population.tastes(theta), effective=float(survivors)
        )
    weights = population.weights(found.theta[0])
    mean = found.share[0] @ weights
    # In the order of the least known weight a comb leaves no chance in it.
    order = weights[:, int((found.share[0] @ (weights - mean).square()).argmax())].argsort()
    kept = found.theta[0][order[systematic(found.share[0][order], draws)]]
    effective = min(float(found.effective), float(draws))
    return UserPosterior(names, population.weights(kept), n, population.tastes(kept), mean, effective)


def pairs_of(rows: Iterable[Mapping[str, Any]], objective: str | None) -> tuple[list[Example], Tensor]:
    """Rows of pairs, labelled or not, as texts and `[n]` labels under `objective`, NaN where there is none; `None` = of the only objective in a row.

    Raises:
        InputError: a row is broken or a rating, or it is not clear which label counts.
    """
    plain = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"pairs, row {number}: must be a dictionary, found {row!r}")
        labels = row.get("labels") or {}
        if objective is None and isinstance(labels, Mapping):
            given = [name for name, value in labels.items() if value is not None and value == value]  # NaN: not given
            if len(given) > 1:
                raise InputError(
                    f"pairs, row {number}: labelled for {', '.join(given)}, where one tells what the user prefers"
                )
            labels = {"preferred": labels[given[0]]} if given else {}
        plain.append({**row, "labels": labels})
    examples = read_examples(plain, (objective or "preferred",), what="pairs", ignore_others=True)
    for number, example in enumerate(examples):
        if not example.is_pair:
            raise InputError(f"pairs, row {number}: is a rating, which compares nothing")
    return examples, torch.tensor([example.targets[0] for example in examples], dtype=torch.float64)


def seen_users(
    population: Population, differences: Tensor, labels: Tensor, user_of: Tensor, users: tuple[str, ...], seed: int
) -> SeenUsers:
    """What is known of each user after all of his pairs: `[N, B]` differences, `[N]` labels, `[N]` users."""
    means, intervals = [], []
    for index in range(len(users)):
        mine = user_of == index
        found = simplex_posterior(population, differences[mine], labels[mine], 500, seed)
        means.append(found.mean)
        intervals.append(found.interval(0.9))
    counts = torch.bincount(user_of, minlength=len(users))
    return SeenUsers(users, counts, torch.stack(means), torch.stack(intervals))


def _root(population: Population) -> Tensor:
    return torch.linalg.cholesky(population.spread) if population.size else population.spread
