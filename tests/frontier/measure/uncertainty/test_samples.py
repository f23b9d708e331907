import numpy as np
import pytest

from frontier.errors import InputError
from frontier.measure.uncertainty.samples import Samples, draws


def rewards(points=2, prompts=12, objectives=2):
    return np.random.default_rng(0).normal(size=(points, prompts, objectives))


def test_means_leave_out_what_is_not_known():
    table = rewards()
    table[1, :2, 0] = np.nan
    assert np.allclose(Samples.of(table).means(), np.nanmean(table, axis=1))


def test_weighted_means_by_hand():
    table = np.arange(10.0).reshape(1, 10, 1)
    weights = np.zeros((1, 10))
    weights[0, [2, 9]] = (3, 1)
    assert Samples.of(table).weighted(weights)[0, 0, 0] == pytest.approx((3 * 2 + 9) / 4)
    table[0, 9] = np.nan
    table = np.concatenate([table, [[[0.0]]]], axis=1)  # a tenth known prompt
    assert Samples.of(table).weighted(np.append(weights, [[0.0]], axis=1))[0, 0, 0] == pytest.approx(2.0)


@pytest.mark.parametrize("missing", [False, True])
def test_influence_is_the_derivative_of_the_weighted_mean(missing):
    table = rewards()
    if missing:
        table[0, 3, 1] = np.nan
    samples, gradient = Samples.of(table), np.array([[1.0, -2.0], [0.5, 3.0]])
    step, n = 1e-6, 12
    more = np.ones((n, n)) + step * np.eye(n)
    change = ((samples.weighted(more) - samples.means()) * gradient).sum(axis=(1, 2)) / step
    assert np.allclose(change * n, samples.influence(gradient), atol=1e-4)


def test_draws_keep_their_sum_and_their_moments():
    for kind in ("multinomial", "dirichlet"):
        weights = np.concatenate(list(draws(20, 4000, 1, kind)))
        assert weights.shape == (4000, 20)
        assert np.allclose(weights.sum(axis=1), 20)
        assert abs(weights.mean() - 1) < 1e-9
        # 1 - 1/n for counts, (n - 1)/(n + 1) for the Dirichlet.
        assert weights.var() == pytest.approx(0.95 if kind == "multinomial" else 19 / 21, rel=0.03)


def test_blocks_change_nothing_but_memory(monkeypatch):
    monkeypatch.setattr("frontier.measure.uncertainty.samples.BLOCK", 100)
    assert [len(block) for block in draws(20, 12, 0)] == [5, 5, 2]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((2, 9, 2)), "at least 10 prompts are needed"),
        (np.zeros((2, 10)), r"shape \[P points, N prompts, K objectives\]"),
        (np.zeros((0, 10, 2)), "none of them 0"),
        ([["a"]], "array of numbers"),
    ],
)
def test_refuses(table, message):
    with pytest.raises(InputError, match=message):
        Samples.of(table)


def test_refuses_infinite_and_rarely_known_rewards_by_name():
    table = rewards()
    table[1, 4, 0] = np.inf
    with pytest.raises(InputError, match="point 1, prompt 4, objective 0 is infinite"):
        Samples.of(table)
    table[1, 4:8, 0] = np.nan
    with pytest.raises(InputError, match="point 1 is known on 8 of 12 prompts in objective 0"):
        Samples.of(table)
