import math

import numpy as np
import pytest
from scipy import stats

from frontier.errors import InputError
from frontier.measure import hypervolume, mip
from frontier.measure.uncertainty import bootstrap

WEIGHTS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
MEANS = np.array([[1.0, 0.2], [0.8, 0.8], [0.2, 1.0]])


def rewards(prompts=80, noise=0.3, seed=0, means=MEANS):
    return means[:, None, :] + noise * np.random.default_rng(seed).normal(size=(len(means), prompts, means.shape[1]))


def per_prompt_mip(table):
    return np.einsum("pnk,pk->n", table, WEIGHTS) / len(WEIGHTS)


def test_mip_is_a_mean_and_its_interval_nearly_students():
    values = per_prompt_mip(table := rewards())
    found = bootstrap(table, "mip", weights=WEIGHTS, resamples=20_000)
    error = stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), error)
    assert found.value == pytest.approx(values.mean(), abs=1e-9)
    assert found.low == pytest.approx(low, abs=0.12 * error)
    assert found.high == pytest.approx(high, abs=0.12 * error)


@pytest.mark.parametrize("method", ["percentile", "basic"])
def test_agrees_with_scipy(method):
    values = per_prompt_mip(table := rewards())
    theirs = stats.bootstrap((values,), np.mean, method=method, n_resamples=20_000, rng=1).confidence_interval
    found = bootstrap(table, "mip", weights=WEIGHTS, method=method, resamples=20_000)
    assert found.low == pytest.approx(theirs.low, abs=0.06 * stats.sem(values))
    assert found.high == pytest.approx(theirs.high, abs=0.06 * stats.sem(values))


def test_studentized_is_the_bootstrap_t_on_skewed_rewards():
    # Exponential rewards: the long tail is above, so the interval must reach further up than down.
    values = np.random.default_rng(0).exponential(size=60)
    found = bootstrap(values.reshape(1, -1, 1), lambda points: points[0, 0], method="studentized")
    assert found.high - found.value > 1.2 * (found.value - found.low)


def test_a_plain_linear_figure_needs_no_correction():
    table = rewards()
    plain = bootstrap(table, "mip", weights=WEIGHTS, method="studentized")
    found = bootstrap(table, "mip", weights=WEIGHTS)
    assert found.value == pytest.approx(plain.value, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.03)
    assert plain.value == pytest.approx(mip(table.mean(axis=1), WEIGHTS))


def test_hypervolume_of_one_point_has_the_error_of_a_product():
    table = rewards(prompts=400, means=np.array([[2.0, 3.0]]))
    found = bootstrap(table, "hypervolume", reference_point=(0, 0))
    x, y = table[0].T
    error = stats.sem(y.mean() * x + x.mean() * y)
    assert found.value == pytest.approx(x.mean() * y.mean(), abs=0.1 * error)
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 399) * error, rel=0.06)
    assert found.reference_point == (0.0, 0.0)
    assert found.n_prompts == 400


def test_tied_points_are_corrected_downwards():
    # Twelve equal points: the hypervolume of noisy means is far above that of the truth.
    table = rewards(prompts=100, means=np.full((12, 2), 0.7), noise=1.0)
    plain = hypervolume(table.mean(axis=1), (0, 0))
    found = bootstrap(table, "hypervolume", reference_point=(0, 0))
    assert plain > 0.6
    assert found.value < plain
    assert 0.49 in found
    assert 0.49 not in bootstrap(table, "hypervolume", reference_point=(0, 0), method="percentile")


def test_alike_prompts_leave_no_interval():
    found = bootstrap(np.broadcast_to(MEANS[:, None], (3, 20, 2)), "hypervolume", reference_point=(0, 0))
    assert found.low == pytest.approx(found.high) == pytest.approx(hypervolume(MEANS, (0, 0)))


def test_equal_points_change_nothing():
    table = rewards()
    twice = np.concatenate([table, table])
    one, two = (bootstrap(t, "hypervolume", reference_point=(0, 0)) for t in (table, twice))
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), rel=1e-6)


def test_scales_with_the_rewards():
    table = rewards()
    one, two = (bootstrap(c * table, "hypervolume", reference_point=(0, 0)) for c in (1.0, 10.0))
    assert (100 * one.low, 100 * one.high) == pytest.approx((two.low, two.high), rel=1e-6)


def test_same_seed_same_interval_another_seed_another():
    table = rewards()
    first, again, other = (bootstrap(table, "eum", weights=WEIGHTS, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_missing_rewards_widen_the_interval():
    table = rewards(prompts=200)
    full = bootstrap(table, "mip", weights=WEIGHTS)
    table[:, 50:] = np.where(np.arange(3)[:, None, None] == 0, np.nan, table[:, 50:])
    less = bootstrap(table, "mip", weights=WEIGHTS)
    assert less.high - less.low > 1.1 * (full.high - full.low)


def test_a_gap_is_never_negative():
    clear = bootstrap(rewards(), "controllability_gap", weights=WEIGHTS)
    assert (clear.value, clear.low, clear.high) == (
        0.0,
        0.0,
        0.0,
    )  # in every resample each point is the best for its own weights
    unclear = bootstrap(rewards(noise=1.0), "controllability_gap", weights=WEIGHTS)
    assert unclear.low == 0.0 <= unclear.value < unclear.high


def test_three_objectives():
    means = np.eye(3) + 0.5
    found = bootstrap(rewards(means=means, prompts=300), "hypervolume", reference_point=(0, 0, 0), resamples=500)
    assert hypervolume(means, (0, 0, 0)) in found


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["hypervolume", "eum", "mip"])
def test_coverage_of_a_dense_front(figure):
    angle = np.linspace(0, np.pi / 2, 11)
    means = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    weights = np.stack([np.linspace(0, 1, 11), np.linspace(1, 0, 11)], axis=1)
    from frontier.measure.uncertainty.kernels import kernel

    truth = kernel(figure, 11, 2, (-0.5, -0.5), weights)(means[None])[0]
    hits = 0
    for seed in range(400):
        table = rewards(means=means, prompts=60, noise=1.0, seed=seed)
        hits += truth in bootstrap(table, figure, reference_point=(-0.5, -0.5), weights=weights, resamples=500)
    assert 0.92 <= hits / 400 <= 0.985  # 95 % +- 2.4 of chance


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 1.0}, "level must be at least 0.5 and below 1"),
        ({"resamples": 99}, "needs at least 200 resamples"),
        ({"method": "percentil"}, "did you mean 'percentile'"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        bootstrap(rewards(), "mip", weights=WEIGHTS, **settings)


def test_refuses_few_prompts():
    with pytest.raises(InputError, match="at least 10 prompts"):
        bootstrap(rewards(prompts=9), "mip", weights=WEIGHTS)
    assert math.isfinite(bootstrap(rewards(prompts=10), "mip", weights=WEIGHTS).low)


def test_alike_rewards_are_said_to_be():
    for value in (0.1, 1.0, 0.0):  # 0.1: whose mean is off by rounding
        for method in ("extrapolated", "studentized"):
            alike = bootstrap(np.full((3, 20, 2), value), "mip", weights=WEIGHTS, method=method)
            assert alike.method.endswith(", rewards all alike")
            assert alike.high - alike.low == pytest.approx(0, abs=1e-12)
    table = np.full((3, 20, 2), 0.1)
    table[:, :5] = np.nan
    assert bootstrap(table, "mip", weights=WEIGHTS).method.endswith(", rewards all alike")
    table[0, 7, 0] = 0.2
    assert bootstrap(table, "mip", weights=WEIGHTS).method.endswith("resamples")


@pytest.mark.parametrize("seed", [-1, 1.5, None, True])
def test_refuses_seeds(seed):
    with pytest.raises(InputError, match="seed must be a whole number of at least 0"):
        bootstrap(rewards(), "mip", weights=WEIGHTS, seed=seed)
