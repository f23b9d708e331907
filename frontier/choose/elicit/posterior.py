"""What is known about someone's utility after their answers: a weighted sample of utilities, renewed when few of them still matter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from frontier.choose.elicit.answers import ANSWERS, Answer, AnswerModel
from frontier.choose.elicit.utilities import LinearUtilities, ProcessUtilities, Utilities

Array = NDArray[np.float64]
# Below this many effective members the sample is renewed.
FEWEST_EFFECTIVE = 128
MOVES = 4
STEP = 0.3


@dataclass(frozen=True)
class Posterior:
    """A weighted sample of what someone may want.

    Args:
        weights (`NDArray`): `[S, K]` weights over the objectives, in units of each objective's range over the candidates.
        probabilities (`NDArray`): `[S]`, sum 1.
        utilities (`NDArray`): `[S, n]` of the candidates, from 0 (worst) to 1 (best).
        rationality (`NDArray`): `[S]`, how sharply the answers follow utilities.
        linear (`float`): the probability that the utility is a weighted sum; 1 or 0 where only one kind was allowed.
    """

    weights: Array
    probabilities: Array
    utilities: Array
    rationality: Array
    linear: float

    @property
    def mean(self) -> Array:
        """`[K]` mean weights."""
        return np.asarray(self.probabilities @ self.weights)

    @property
    def effective_size(self) -> float:
        """How many equally likely members would say as much."""
        return float(1.0 / (self.probabilities**2).sum())

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """`[K]` lower and upper ends of central intervals of the weights."""
        tail = (1.0 - level) / 2
        ends = []
        for column in self.weights.T:
            order = np.argsort(column, kind="stable")
            reached = np.cumsum(self.probabilities[order])
            places = np.searchsorted(reached, [tail, 1.0 - tail]).clip(0, len(order) - 1)
            ends.append(column[order][places])
        low, high = np.array(ends).T
        return low, high

    def equally_likely(self, size: int) -> NDArray[np.intp]:
        """`[size]` members, drawn systematically in proportion to their probabilities."""
        return _systematic(self.probabilities, size, 0.5)


class Sampler:
    """Bayes' rule on a sample of utilities.

    The sample is a scrambled Sobol sequence through the prior. Answers reweight it; when fewer than 128 members matter it is resampled, and every member
    moved by preconditioned Crank-Nicolson steps ([Cotter et al., 2013](https://arxiv.org/abs/1202.0709)), which leave prior times likelihood unchanged.

    Args:
        families (`Sequence[Utilities]`): equally likely before the first answer.
        answers (`AnswerModel`): how utilities become answers.
        size (`int`): S, of the whole sample.
        seed (`int`): same seed, same answers, same posterior.
    """

    def __init__(self, families: Sequence[Utilities], answers: AnswerModel, size: int, seed: int) -> None:
        self._families, self._answers, self._seed = families, answers, seed
        self._asked: list[tuple[int, int, Answer]] = []
        each = size // len(families)
        self._family = np.repeat(np.arange(len(families)), each)
        # One more number than the family needs: how rational this person is.
        dimensions = 1 + max(family.dimensions for family in families)
        self._latent = np.zeros((len(self._family), dimensions))
        for i, family in enumerate(families):
            sobol = qmc.Sobol(1 + family.dimensions, rng=np.random.default_rng([seed, i]))
            draws = ndtri(np.clip(sobol.random(each), 1e-9, 1 - 1e-9))
            self._latent[self._family == i, : draws.shape[1]] = draws
        self._weights, self._utilities, self._rationality = self._read(self._latent, self._family)
        self._log_probability = np.zeros(len(self._family))

    def update(self, a: int, b: int, answer: Answer) -> None:
        """Take in one answer about candidates a and b."""
        self._asked.append((a, b, answer))
        self._log_probability += self._log_likelihood(self._utilities, self._rationality, self._asked[-1:])
        if self.posterior().effective_size < FEWEST_EFFECTIVE:
            self._renew()

    def posterior(self) -> Posterior:
        """What is known now."""
        probabilities = np.exp(self._log_probability - self._log_probability.max())
        probabilities /= probabilities.sum()
        is_linear = np.array([isinstance(family, LinearUtilities) for family in self._families])
        linear = float(probabilities[is_linear[self._family]].sum())
        return Posterior(self._weights, probabilities, self._utilities, self._rationality, linear)

    def _read(self, latent: Array, family: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Weights, utilities and rationality of every member."""
        parts = [
            (rows, self._families[i].weights(own), self._families[i].values(own))
            for i, rows, own in ((i, family == i, latent[family == i, 1:]) for i in range(len(self._families)))
            if rows.any()
        ]
        weights = np.empty((len(latent), parts[0][1].shape[1]))
        utilities = np.empty((len(latent), parts[0][2].shape[1]))
        for rows, found, values in parts:
            weights[rows], utilities[rows] = found, values
        rationality = self._answers.rationality * np.exp(self._answers.spread * latent[:, 0])
        return weights, utilities, rationality

    def _log_likelihood(self, utilities: Array, rationality: Array, asked: Sequence[tuple[int, int, Answer]]) -> Array:
        first = utilities[:, [a for a, _, _ in asked]]
        second = utilities[:, [b for _, b, _ in asked]]
        given = np.array([ANSWERS.index(answer) for _, _, answer in asked])
        likely = self._answers.probabilities(first - second, rationality[:, None])
        # Without lapses an answer can be impossible to the last digit; its logarithm must still be a number.
        logs = np.log(np.maximum(likely[given, :, np.arange(len(asked))], 1e-300))
        return np.asarray(logs.sum(axis=0))

    def _renew(self) -> None:
        rng = np.random.default_rng([self._seed, 1_000_003, len(self._asked)])
        size = len(self._family)
        kept = _systematic(self.posterior().probabilities, size, rng.random())
        self._latent, self._family = self._latent[kept], self._family[kept]
        self._weights, self._utilities = self._weights[kept], self._utilities[kept]
        self._rationality = self._rationality[kept]
        self._log_probability = np.zeros(size)
        likelihood = self._log_likelihood(self._utilities, self._rationality, self._asked)
        for _ in range(MOVES):
            noise = rng.standard_normal(self._latent.shape)
            moved = np.sqrt(1 - STEP**2) * self._latent + STEP * noise
            weights, utilities, rationality = self._read(moved, self._family)
            new = self._log_likelihood(utilities, rationality, self._asked)
            taken = np.log(rng.random(size)) < new - likelihood
            self._latent[taken], likelihood[taken] = moved[taken], new[taken]
            self._weights[taken], self._utilities[taken] = weights[taken], utilities[taken]
            self._rationality[taken] = rationality[taken]


def families(points: Array, model: str) -> list[Utilities]:
    """The utilities that a model allows: `linear`, `gp`, or both (`auto`)."""
    found: dict[str, list[Utilities]] = {"linear": [LinearUtilities(points)]}
    if model != "linear":
        found["gp"] = [ProcessUtilities(points)]
        found["auto"] = [*found["linear"], *found["gp"]]
    return found[model]


def _systematic(probabilities: Array, size: int, offset: float) -> NDArray[np.intp]:
    places = (np.arange(size) + offset) / size
    return np.searchsorted(np.cumsum(probabilities), places).clip(0, len(probabilities) - 1)
