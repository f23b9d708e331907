"""Which two points to show next: the pair whose answer is expected to tell most about the choice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frontier.choose.elicit.answers import AnswerModel
from frontier.choose.elicit.posterior import Posterior

Array = NDArray[np.float64]
Criterion = Literal["choice", "information", "eubo", "random"]
CRITERIA: tuple[Criterion, ...] = ("choice", "information", "eubo", "random")
# Members of the posterior that a question is judged by, and the most pairs that are judged.
MEMBERS = 512
MOST_PAIRS = 2500
# A point counts as good as the best when it is within this share of the person's range.
AS_GOOD = 0.02


@dataclass(frozen=True)
class Question:
    """Two candidates to compare.

    Args:
        a (`int`): the first.
        b (`int`): the second.
        information (`float`): what the criterion expects of the answer: bits about the choice (`choice`) or about everything (`information`), the expected utility of the better
            of the two (`eubo`); 0 for a random question.
    """

    a: int
    b: int
    information: float


def best_question(
    posterior: Posterior, pairs: NDArray[np.intp], answers: AnswerModel, criterion: Criterion, seed: int
) -> tuple[int, float]:
    r"""The row of the best pair, and what it is expected to bring.

    Args:
        posterior (`Posterior`): what is known.
        pairs (`NDArray`): `[Q, 2]` columns of `posterior.utilities`, at least one row.
        answers (`AnswerModel`): how utilities become answers.
        criterion (`str`): `choice`: the mutual information of the answer and of which candidates are within 2 % of the best
            ([Hennig and Schuler, 2012](https://arxiv.org/abs/1112.1217), entropy search over candidates); `information`: of the answer and the whole utility (BALD,
            [Houlsby et al., 2011](https://arxiv.org/abs/1112.5745)); `eubo`: the expected utility of the better of the two, $E \max(u_a, u_b)$
            ([Lin et al., 2022](https://arxiv.org/abs/2203.11382)); `random`.
        seed (`int`): of a random question, and of which pairs are judged where there are very many.
    """
    rng = np.random.default_rng(seed)
    if criterion == "random":
        return int(rng.integers(len(pairs))), 0.0
    members = posterior.equally_likely(MEMBERS)
    rows = _judged(posterior.utilities[members], pairs, rng)
    score = _SCORES[criterion](posterior, members, pairs[rows], answers)
    best = int(score.argmax())
    return int(rows[best]), float(score[best])


def _judged(utilities: Array, pairs: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """All pairs, or of very many: half those between the candidates that look best, half at random."""
    if len(pairs) <= MOST_PAIRS:
        return np.arange(len(pairs))
    promising = np.maximum(*utilities.mean(axis=0)[pairs.T])
    top = np.argsort(-promising, kind="stable")[: MOST_PAIRS // 2]
    others = np.setdiff1d(np.arange(len(pairs)), top)
    return np.sort(np.concatenate([top, rng.choice(others, MOST_PAIRS - len(top), replace=False)]))


def _eubo(posterior: Posterior, members: NDArray[np.intp], pairs: NDArray[np.intp], _: AnswerModel) -> Array:
    utilities = posterior.utilities[members]
    return np.asarray(np.maximum(utilities[:, pairs[:, 0]], utilities[:, pairs[:, 1]]).mean(axis=0))


def _information(
    posterior: Posterior, members: NDArray[np.intp], pairs: NDArray[np.intp], answers: AnswerModel
) -> Array:
    likely = _answer_probabilities(posterior, members, pairs, answers)
    expected = sum((_plogp(each).mean(axis=0) for each in likely), np.zeros(len(pairs)))
    return np.asarray((expected - sum(_plogp(each.mean(axis=0)) for each in likely)) / np.log(2))


def _choice(posterior: Posterior, members: NDArray[np.intp], pairs: NDArray[np.intp], answers: AnswerModel) -> Array:
    likely = _answer_probabilities(posterior, members, pairs, answers)
    best = (posterior.utilities[members] >= 1.0 - AS_GOOD).astype(np.float64)
    # Someone to whom all candidates are worth the same has no best one, and nothing to tell.
    best /= np.maximum(best.sum(axis=1, keepdims=True), 1.0) * len(members)
    best = best[:, best.any(axis=0)]
    gained = np.zeros(len(pairs))
    for each in likely:
        # Sum over answers y and candidates i of p(y, i) log(p(y, i) / (p(y) p(i))); the term of p(i) is the same for every pair.
        gained += _plogp(each.T @ best).sum(axis=1) - _plogp(each.mean(axis=0))
    return np.asarray((gained - _plogp(best.sum(axis=0)).sum()) / np.log(2))


def _answer_probabilities(
    posterior: Posterior, members: NDArray[np.intp], pairs: NDArray[np.intp], answers: AnswerModel
) -> tuple[Array, Array, Array]:
    """Three times `[S, Q]`. The same as `AnswerModel.probabilities`, with one exponential per candidate instead of two per pair."""
    beta = posterior.rationality[members][:, None]
    # Utilities are at most 1; a floor keeps the smallest positive for any rationality.
    strength = np.exp(np.maximum(beta * (posterior.utilities[members] - 1.0), -600.0))
    a, b, tie = strength[:, pairs[:, 0]], strength[:, pairs[:, 1]], np.exp(np.minimum(beta * answers.tie, 600.0))
    first, second = a / (a + tie * b), b / (b + tie * a)
    scale, floor = 1.0 - 1.5 * answers.lapse, answers.lapse / 2
    return scale * first + floor, scale * second + floor, scale * (1.0 - first - second) + floor


def _plogp(p: Array) -> Array:
    return np.asarray(p * np.log(np.maximum(p, 1e-300)))


_SCORES: dict[str, Callable[[Posterior, NDArray[np.intp], NDArray[np.intp], AnswerModel], Array]] = {
    "eubo": _eubo,
    "information": _information,
    "choice": _choice,
}
