import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from reward_heads.probes.logistic import Rows
from reward_heads.probes.selection import folds_of, held_out_logistic, held_out_ridge
from reward_heads.probes.spectrum import Spectrum

ALPHAS = np.array([0.1, 1.0, 10.0, 100.0])


def world(n=60, d=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, x[:, 0] + rng.normal(size=n), [f"document{i // 4}" for i in range(n)]


def test_a_group_is_never_on_both_sides():
    _, _, groups = world()
    folds = folds_of(groups, 5)
    assert len(folds) == 5
    assert sorted(np.concatenate(folds).tolist()) == list(range(60))
    owners = [{groups[i] for i in fold} for fold in folds]
    assert sum(map(len, owners)) == len(set(groups))


@pytest.mark.parametrize(
    ("groups", "folds", "sizes"),
    [(["a"] * 6, 3, [2, 2, 2]), (["a", "b", "b"], 5, [1, 2]), (["a"], 5, []), ([], 5, []), (["a", "a"], 5, [1, 1])],
)
def test_few_groups(groups, folds, sizes):
    assert sorted(len(fold) for fold in folds_of(groups, folds)) == sizes


def test_ridge_errors_equal_brute_force():
    x, t, groups = world()
    folds = folds_of(groups, 5)
    found = held_out_ridge(x, t, ALPHAS, folds, lambda rows: Spectrum.of(x[rows] - x[rows].mean(0)))
    for alpha, error in zip(ALPHAS, found, strict=True):
        squares = []
        for held in folds:
            train = np.array([i for i in range(60) if i not in set(held)])
            squares += list((t[held] - Ridge(alpha=alpha).fit(x[train], t[train]).predict(x[held])) ** 2)
        assert error == pytest.approx(np.mean(squares), rel=1e-9)


def test_logistic_losses_equal_brute_force():
    x, t, groups = world()
    labels, folds = (t > 0).astype(float), folds_of(groups, 5)
    rows = Rows(x, np.zeros(60), labels, np.zeros(60))
    found = held_out_logistic(rows, ALPHAS, folds)
    for alpha, loss in zip(ALPHAS, found, strict=True):
        total = 0.0
        for held in folds:
            train = np.array([i for i in range(60) if i not in set(held)])
            model = LogisticRegression(C=1 / alpha, fit_intercept=False, tol=1e-10, max_iter=5000)
            chance = model.fit(x[train], labels[train]).predict_proba(x[held])
            total += log_loss(labels[held], chance, labels=[0, 1], normalize=False)
        assert loss == pytest.approx(total / 60, rel=1e-5)
