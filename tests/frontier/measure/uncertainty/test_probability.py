import numpy as np
import pytest

from frontier.errors import InputError
from frontier.measure.uncertainty import posterior_non_dominated


def rewards(means, noise=0.3, prompts=60):
    means = np.asarray(means, dtype=float)
    return means[:, None, :] + noise * np.random.default_rng(0).normal(size=(len(means), prompts, means.shape[1]))


def test_clear_cases():
    found = posterior_non_dominated(rewards([[0, 1], [1, 0], [-1, -1]], noise=0.1))
    assert found.probability == (1.0, 1.0, 0.0)
    assert all(0 < error < 1e-3 for error in found.monte_carlo_error)  # 0 would claim too much


def test_one_point_is_never_dominated_and_equal_ones_do_not_dominate_each_other():
    table = rewards([[0.0, 0.0]])
    assert posterior_non_dominated(table).probability == (1.0,)
    assert posterior_non_dominated(np.concatenate([table, table])).probability == (1.0, 1.0)


def test_of_one_objective_it_is_the_probability_to_be_the_best():
    table = rewards([[0.0], [0.0]], prompts=100)
    first, second = posterior_non_dominated(table, resamples=20_000).probability
    assert first + second == pytest.approx(1.0)
    difference = (table[0] - table[1])[:, 0]
    from scipy.stats import norm

    expected = norm.cdf(difference.mean() / (difference.std() / np.sqrt(101)))  # the posterior's first two moments
    assert first == pytest.approx(expected, abs=0.02)


def test_pairing_tells_points_apart_that_their_own_errors_do_not():
    luck = np.random.default_rng(0).normal(size=(1, 50, 1))
    table = np.concatenate([luck, luck + 0.01], axis=0)
    assert posterior_non_dominated(table).probability == (0.0, 1.0)


def test_monte_carlo_error_is_the_spread_over_seeds():
    table = rewards([[0.0, 0.0], [0.05, 0.0], [0.0, 0.05]])
    runs = [posterior_non_dominated(table, resamples=400, seed=s) for s in range(40)]
    spread = np.std([run.probability[0] for run in runs], ddof=1)
    assert spread == pytest.approx(runs[0].monte_carlo_error[0], rel=0.4)


def test_refuses_no_draws():
    with pytest.raises(InputError, match="resamples must be at least 1"):
        posterior_non_dominated(rewards([[0, 1]]), resamples=0)
