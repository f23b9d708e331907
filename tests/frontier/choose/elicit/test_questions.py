import numpy as np
import pytest

from frontier.choose.elicit.answers import AnswerModel
from frontier.choose.elicit.posterior import Posterior
from frontier.choose.elicit.questions import CRITERIA, best_question

RATIONAL = AnswerModel(rationality=1e3, spread=0.0, tie=1e-3, lapse=0.0)
PAIRS = np.array([[0, 1], [0, 2], [1, 2]])


def posterior(utilities, probabilities=None):
    n = len(utilities)
    p = np.full(n, 1 / n) if probabilities is None else np.asarray(probabilities)
    return Posterior(np.full((n, 2), 0.5), p, np.asarray(utilities, float), np.full(n, 1e3), 1.0)


def test_choice_by_hand():
    """Half want 0 and half want 1; everybody has 2 in between: only 0 against 1 and the middle against either tell, and all say one bit."""
    found = posterior([[1, 0, 0.5], [0, 1, 0.5]])
    row, bits = best_question(found, PAIRS, RATIONAL, "choice", 0)
    assert bits == pytest.approx(1.0, abs=1e-6)
    assert row == 0


def test_choice_does_not_ask_what_decides_nothing():
    """All want 0; they differ over 1 and 2, which does not matter."""
    utilities = [[1, 0.5, 0.0], [1, 0.0, 0.5]]
    assert best_question(posterior(utilities), PAIRS, RATIONAL, "choice", 0)[1] == pytest.approx(0, abs=1e-9)
    row, bits = best_question(posterior(utilities), PAIRS, RATIONAL, "information", 0)
    assert (row, bits) == (2, pytest.approx(1.0, abs=1e-6))


def test_eubo_by_hand():
    found = posterior([[1, 0, 0.8], [0, 1, 0.6]], [0.25, 0.75])
    row, value = best_question(found, PAIRS, RATIONAL, "eubo", 0)
    assert row == 0
    assert value == pytest.approx(1.0)  # 0-2: 0.25 + 0.75 * 0.6, 1-2: 0.25 * 0.8 + 0.75


def test_slips_cost_information():
    found = posterior([[1, 0, 0.5], [0, 1, 0.5]])
    slips = AnswerModel(rationality=1e3, spread=0.0, tie=1e-3, lapse=0.2)
    # Of what is left of a bit when an answer is right with 0.8 and one of two others with 0.1: "can't tell" says nothing.
    h = -(0.8 * np.log2(0.8) + 0.2 * np.log2(0.1))
    marginal = -(0.9 * np.log2(0.45) + 0.1 * np.log2(0.1))
    assert best_question(found, PAIRS[:1], slips, "choice", 0)[1] == pytest.approx(marginal - h, abs=1e-6)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_many_pairs_are_judged_in_part(criterion):
    rng = np.random.default_rng(0)
    found = posterior(rng.random((600, 90)))
    pairs = np.array(np.triu_indices(90, 1)).T
    assert len(pairs) > 2500
    rows = {best_question(found, pairs, AnswerModel(), criterion, 3)[0] for _ in range(2)}
    assert len(rows) == 1
    assert 0 <= rows.pop() < len(pairs)
