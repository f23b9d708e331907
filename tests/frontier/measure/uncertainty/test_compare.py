import numpy as np
import pytest
from scipy import stats

from frontier.errors import InputError
from frontier.measure.uncertainty import compare_rewards

WEIGHTS = np.eye(2)
MEANS = np.array([[1.0, 0.2], [0.2, 1.0]])


def rewards(generator, shift=0.0, prompts=60, luck=0.0):
    return MEANS[:, None] + shift + luck + 0.3 * generator.normal(size=(2, prompts, 2))


def test_mip_is_the_paired_t_test():
    generator = np.random.default_rng(0)
    luck = generator.normal(size=(1, 60, 1))
    a, b = rewards(generator, 0.08, luck=luck), rewards(generator, luck=luck)
    found = compare_rewards(a, b, "mip", weights_a=WEIGHTS, resamples=20_000)
    each = [(t[0, :, 0] + t[1, :, 1]) / 2 for t in (a, b)]
    theirs = stats.ttest_rel(*each)
    low, high = theirs.confidence_interval(0.95)
    assert found.difference.value == pytest.approx(each[0].mean() - each[1].mean(), abs=1e-9)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=0.006)
    assert found.p_value == pytest.approx(theirs.pvalue, abs=0.01)
    assert found.a - found.b == pytest.approx(found.difference.value, abs=1e-9)
    assert found.standard_deviation == pytest.approx(np.std(each[0] - each[1], ddof=1), rel=0.03)


def test_swapping_the_fronts_swaps_the_verdict():
    generator = np.random.default_rng(0)
    a, b = rewards(generator, 0.3), rewards(generator)
    one, two = (compare_rewards(x, y, "hypervolume", reference_point=(0, 0)) for x, y in ((a, b), (b, a)))
    assert (one.verdict, two.verdict) == ("A is better", "B is better")
    assert one.p_value < 0.01
    assert one.difference.value == pytest.approx(-two.difference.value, rel=1e-6)
    assert str(one).startswith("A is better: hypervolume A - B = ")


def test_a_front_does_not_beat_itself():
    a = rewards(np.random.default_rng(0))
    found = compare_rewards(a, a, "hypervolume", reference_point=(0, 0))
    assert (found.difference.value, found.p_value, found.verdict) == (0.0, 1.0, "not decided")


def test_p_value_and_interval_tell_the_same():
    for seed in range(30):
        generator = np.random.default_rng(seed)
        found = compare_rewards(rewards(generator, 0.06), rewards(generator), "eum", weights_a=WEIGHTS, resamples=400)
        if abs(found.p_value - 0.05) > 0.01:  # at the very edge the quantile is interpolated and the share is not
            assert (0.0 in found.difference) == (found.p_value > 0.05)


def test_prompts_that_one_front_does_not_know_count_for_neither():
    """Hard prompts, unknown to B: as if they had never been asked, in that objective; and gone where no objective is left."""
    generator = np.random.default_rng(0)
    luck = 3 * generator.normal(size=(1, 60, 2))
    a, b = rewards(generator, luck=luck), rewards(generator, luck=luck)
    hard = luck[0, :, 0] < -1
    assert 10 < hard.sum() < 40
    partly, wholly = b.copy(), b.copy()
    partly[1, hard, 0] = wholly[:, hard] = np.nan
    for known, objective in ((partly, 0), (wholly, 1)):
        for one, two in ((a, known), (known, a)):
            found = compare_rewards(one, two, "mip", weights_a=np.eye(2)[[objective] * 2])
            means = [t[:, ~hard, objective].mean() for t in (one, two)]
            assert (found.a, found.b) == pytest.approx(means)
            assert found.verdict == "not decided"
    assert found.difference.n_prompts == 60 - hard.sum()
    short = compare_rewards(a[:, ~hard], b[:, ~hard], "mip", weights_a=WEIGHTS)
    assert compare_rewards(a, wholly, "mip", weights_a=WEIGHTS) == short


def test_refuses_fronts_that_know_too_few_prompts_in_common():
    generator = np.random.default_rng(0)
    a, b = rewards(generator), rewards(generator)
    a[0, :25, 1] = b[1, 30:55, 1] = np.nan
    compare_rewards(a, b, "mip", weights_a=WEIGHTS)  # ten are just enough
    b[0, 25, 1] = np.nan
    with pytest.raises(InputError, match="knows objective safe on 9 of 60 prompts, and at least 10 are needed"):
        compare_rewards(a, b, "mip", weights_a=WEIGHTS, objectives=("helpful", "safe"))


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["hypervolume", "eum"])
def test_null_is_rejected_no_more_often_than_the_level_says_and_a_difference_is_found(figure):
    angle = np.linspace(0, np.pi / 2, 7)
    means = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    weights = np.stack([np.linspace(0, 1, 7), np.linspace(1, 0, 7)], axis=1)
    rejected = found_better = 0
    for seed in range(400):
        generator = np.random.default_rng(seed)
        luck = generator.exponential(size=(1, 60, 2))
        a, b = (means[:, None] + luck + 0.5 * generator.normal(size=(7, 60, 2)) for _ in range(2))
        found = compare_rewards(a, b, figure, reference_point=(-1, -1), weights_a=weights, resamples=400)
        rejected += found.p_value <= 0.05
        better = compare_rewards(a + 0.2, b, figure, reference_point=(-1, -1), weights_a=weights, resamples=400)
        found_better += better.verdict == "A is better"
    assert 1 <= rejected <= 0.05 * 400
    assert found_better / 400 > 0.8


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (np.zeros((2, 30, 2)), "60 prompts and 2 objectives in A, 30 and 2 in B"),
        (np.zeros((2, 60, 3)), "60 and 3 in B"),
    ],
)
def test_refuses_other_prompts_or_objectives(b, message):
    with pytest.raises(InputError, match=message):
        compare_rewards(rewards(np.random.default_rng(0)), b, "hypervolume", reference_point=(0, 0))


def test_rare_failures_tell_equal_points_apart_no_more_often_than_the_level_says():
    """Rewards 0 or 1, a share 0.98 of them 1: the bootstrapped t statistics alone would decide a fifth of these pairs."""
    wrong = 0
    for seed in range(150):
        a, b = (np.random.default_rng(seed).random((2, 1, 60, 1)) < 0.98).astype(float)
        found = compare_rewards(a, b, "mip", weights_a=[[1.0]], resamples=400)
        wrong += found.verdict != "not decided"
        if abs(found.p_value - 0.05) > 0.01:
            assert (found.verdict == "not decided") == (0.0 in found.difference)
    assert wrong <= 0.05 * 150


def test_no_failure_in_the_sample_is_no_certainty():
    found = compare_rewards(np.full((1, 20, 1), 0.1), np.zeros((1, 20, 1)), "mip", weights_a=[[1.0]], resamples=400)
    assert found.p_value == 2 / 401
    assert found.difference.low == pytest.approx(0.1) == found.difference.high
    assert found.difference.method.endswith(", rewards all alike")
    a = rewards(np.random.default_rng(0))
    assert compare_rewards(a, a, "mip", weights_a=WEIGHTS).difference.method.endswith(", the same in every resample")
