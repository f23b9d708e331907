import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users.linear import LinearScorer, fit_linear


def test_a_head_agrees_with_scikit_learn(plant):
    x, pairs, _ = plant(seed=1)
    weights = torch.rand(len(x), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scorer = LinearScorer(x, pairs.labels, 1, ridge=0.7)
    scorer.fit(torch.arange(len(x)), weights)
    model = LogisticRegression(C=1 / 0.7, fit_intercept=False, tol=1e-10, max_iter=1000)
    model.fit(scorer.x.numpy(), pairs.labels.numpy(), sample_weight=weights.squeeze(1).numpy())
    assert_close(scorer.beta[0], torch.from_numpy(model.coef_[0]), rtol=1e-4, atol=1e-5)
    assert scorer.penalty() == pytest.approx(0.35 * float((model.coef_**2).sum()), rel=1e-4)


def test_the_units_of_features_do_not_matter(plant):
    x, pairs, _ = plant()
    units = torch.tensor([1e-3, 1.0, 1e4], dtype=torch.float64)
    plain, scaled = LinearScorer(x, pairs.labels, 1), LinearScorer(x * units, pairs.labels, 1)
    rows, ones = torch.arange(len(x)), torch.ones(len(x), 1, dtype=torch.float64)
    plain.fit(rows, ones)
    scaled.fit(rows, ones)
    assert_close(plain.differences(rows), scaled.differences(rows))
    assert_close(scaled.weights * units, plain.weights)
    assert_close(x @ plain.weights.T, plain.differences(rows))


def test_survives_certain_labels_far_from_the_optimum():
    x = torch.tensor([[1000.0], [-1000.0], [1e-3]], dtype=torch.float64)
    scorer = LinearScorer(x, torch.tensor([1.0, 0.0, 0.0]), 1, ridge=1e-6)
    scorer.beta = torch.tensor([[-40.0]], dtype=torch.float64)
    scorer.fit(torch.arange(3), torch.ones(3, 1, dtype=torch.float64))
    assert scorer.beta.isfinite().all()
    assert scorer.differences(torch.tensor([0]))[0, 0] > 5


def test_a_feature_that_never_differs_is_ignored(plant):
    x, pairs, _ = plant()
    x = torch.cat([x, torch.zeros(len(x), 1, dtype=torch.float64)], 1)
    scorer = LinearScorer(x, pairs.labels, 1)
    scorer.fit(torch.arange(len(x)), torch.ones(len(x), 1, dtype=torch.float64))
    assert scorer.weights[0, 3] == 0
    assert scorer.weights.isfinite().all()


def test_finds_planted_tastes(plant):
    x, pairs, tastes = plant(pairs_per_user=200)
    scorer, mixture = fit_linear(x, pairs, torch.arange(len(x)), 2, ridge=0.01)
    largest = int(mixture.shares.argmax())
    assert_close(mixture.responsibilities[:8, largest], torch.ones(8).double())
    assert_close(mixture.responsibilities[8:, largest], torch.zeros(4).double(), atol=1e-6, rtol=0)
    # 800 and 1600 pairs with P = σ(2 x): standard errors of about 0.15 and 0.1.
    assert_close(scorer.weights[largest], tastes[0], atol=0.4, rtol=0)
    assert_close(scorer.weights[1 - largest], tastes[1], atol=0.6, rtol=0)


def test_the_smart_start_alone_finds_them(plant):
    x, pairs, _ = plant()
    _, mixture = fit_linear(x, pairs, torch.arange(len(x)), 2, restarts=1)
    assert sorted(mixture.responsibilities.argmax(1).bincount().tolist()) == [4, 8]


def test_equal_seeds_give_equal_results(plant):
    x, pairs, _ = plant(pairs_per_user=6)
    first, again = (fit_linear(x, pairs, torch.arange(len(x)), 3, seed=5)[1] for _ in range(2))
    assert torch.equal(first.responsibilities, again.responsibilities)


def test_refuses(plant):
    x, pairs, _ = plant()
    with pytest.raises(InputError, match="13 groups of 12 users with labelled pairs"):
        fit_linear(x, pairs, torch.arange(len(x)), 13)
    with pytest.raises(InputError, match="a feature is not finite"):
        LinearScorer(x * torch.nan, pairs.labels, 1)
    with pytest.raises(InputError, match=r"features must be \[360, d\]"):
        LinearScorer(x[:5], pairs.labels, 1)
