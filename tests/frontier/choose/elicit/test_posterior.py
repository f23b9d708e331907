import numpy as np
import pytest

from frontier.choose.elicit.answers import ANSWERS, AnswerModel
from frontier.choose.elicit.posterior import Sampler, families
from frontier.choose.elicit.utilities import LinearUtilities

# Two objectives; with weights (w, 1 - w), utilities are w's function alone.
POINTS = np.array([[0.0, 1.0], [0.7, 0.8], [1.0, 0.0]])
ASKED = [(0, 1, "b"), (1, 2, "a"), (0, 2, "cant_tell")]


def exact_mean(asked, answers):
    """E[w | answers] for a linear utility by a fine grid over w and the rationality."""
    w = (np.arange(4000) + 0.5) / 4000
    u = np.outer(w, POINTS[:, 0]) + np.outer(1 - w, POINTS[:, 1])
    u = (u - u.min(1, keepdims=True)) / np.ptp(u, axis=1)[:, None]
    z = np.linspace(-5, 5, 201)
    p = np.exp(-(z**2) / 2)[None] * np.ones((4000, 1))
    for a, b, answer in asked:
        beta = answers.rationality * np.exp(answers.spread * z)
        p *= answers.probabilities((u[:, a] - u[:, b])[:, None], beta[None])[ANSWERS.index(answer)]
    return float((p.sum(1) * w).sum() / p.sum())


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_agrees_with_quadrature(n):
    answers = AnswerModel()
    sampler = Sampler([LinearUtilities(POINTS)], answers, 4096, 0)
    for question in ASKED[:n]:
        sampler.update(*question)
    assert sampler.posterior().mean[0] == pytest.approx(exact_mean(ASKED[:n], answers), abs=0.01)
    assert sampler.posterior().probabilities.sum() == pytest.approx(1)


def test_a_renewed_sample_is_still_the_posterior():
    answers = AnswerModel(rationality=100.0, lapse=0.02)
    sampler = Sampler([LinearUtilities(POINTS)], answers, 256, 0)
    asked = [(0, 1, "b"), (1, 2, "b"), (0, 2, "b"), (1, 2, "cant_tell")]
    for question in asked:
        sampler.update(*question)
    assert len(np.unique(sampler.posterior().weights[:, 0])) > 150  # moved, not only copied
    assert sampler.posterior().effective_size == pytest.approx(256)
    assert sampler.posterior().mean[0] == pytest.approx(exact_mean(asked, answers), abs=0.03)


def test_intervals_cover_the_prior():
    low, high = Sampler([LinearUtilities(POINTS)], AnswerModel(), 4096, 0).posterior().interval(0.9)
    np.testing.assert_allclose(low, [0.05, 0.05], atol=0.01)  # one of two weights is uniform on [0, 1]
    np.testing.assert_allclose(high, [0.95, 0.95], atol=0.01)


def test_the_evidence_tells_linear_wishes_from_others():
    rng = np.random.default_rng(0)
    angles = np.linspace(0, np.pi / 2, 21)
    points = 1 - np.column_stack(
        [np.sin(angles), np.cos(angles)]
    )  # with a dent: no weighted sum prefers the middle to both ends
    found = {}
    for name, utility in (("balance", points.min(axis=1)), ("linear", points @ [0.6, 0.4])):
        sampler = Sampler(families(points, "auto"), AnswerModel(), 4096, 0)
        for a, b in rng.integers(0, 21, (25, 2)):
            if a != b and abs(utility[a] - utility[b]) > 0.05:
                sampler.update(int(a), int(b), "a" if utility[a] > utility[b] else "b")
        found[name] = sampler.posterior().linear
    assert found["balance"] < 0.5 < found["linear"]


def test_before_any_answer_both_families_are_equally_likely():
    assert Sampler(families(POINTS, "auto"), AnswerModel(), 4096, 0).posterior().linear == pytest.approx(0.5)
