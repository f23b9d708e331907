import doctest
import sys

import numpy as np
import pytest

from frontier import InputError, hypervolume
from frontier.measure import approximate
from frontier.measure.approximate import approximate_hypervolume


def corners(m, c):
    """Boxes that share the cube up to c, each with a slab of its own: c^m + m (1 - c) c^(m - 1)."""
    return np.full((m, m), c) + (1 - c) * np.eye(m), c**m + m * (1 - c) * c ** (m - 1)


def test_examples_run():
    assert doctest.testmod(sys.modules["frontier.measure.approximate"]).failed == 0


@pytest.mark.parametrize("m", [2, 5, 12, 40])
def test_union_known_in_closed_form(m):
    points, truth = corners(m, 0.8)
    got = approximate_hypervolume(points, np.zeros(m), relative_error=0.02, confidence=0.999)
    assert got.reached
    assert got.low <= truth <= got.high
    assert abs(got.value - truth) <= 0.02 * truth
    assert got.reference_point == (0.0,) * m


@pytest.mark.parametrize("m", [10, 12])
def test_the_stated_bound_holds_as_often_as_stated(m):
    misses = 0
    for seed in range(60):
        generator = np.random.default_rng([m, seed])
        points = generator.random((12, m)) if seed % 2 else generator.dirichlet(np.ones(m), 12)
        truth = hypervolume(points, np.zeros(m))
        got = approximate_hypervolume(points, np.zeros(m), relative_error=0.05, confidence=0.99, seed=seed)
        misses += not (got.low <= truth <= got.high and abs(got.value - truth) <= 0.05 * truth)
    # 60 trials of which 1 in 100 may miss: 5 or more have a chance below 1 in 1,000.
    assert misses < 5


def test_unbiased():
    points, truth = corners(4, 0.7)
    values = [
        approximate_hypervolume(points, np.zeros(4), relative_error=0.2, max_samples=2048, seed=s).value
        for s in range(100)
    ]
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / 10


def test_more_samples_for_less_error_and_more_confidence():
    points = np.abs(np.random.default_rng(0).normal(size=(30, 5)))
    coarse, fine, sure = (
        approximate_hypervolume(points, np.zeros(5), relative_error=e, confidence=c)
        for e, c in ((0.04, 0.9), (0.01, 0.9), (0.04, 0.9999))
    )
    assert coarse.samples < sure.samples < fine.samples
    assert coarse.relative_error <= 0.04
    assert fine.relative_error <= 0.01


def test_same_seed_same_value():
    points = np.random.default_rng(0).random((30, 5))
    first, same, other = (approximate_hypervolume(points, np.zeros(5), seed=s) for s in (3, 3, 4))
    assert first == same
    assert first.value != other.value


def test_says_when_it_stopped_too_early():
    points, truth = corners(6, 0.9)
    got = approximate_hypervolume(points, np.zeros(6), relative_error=1e-4, max_samples=5_000)
    assert not got.reached
    assert got.samples == 5_000
    assert got.relative_error > 1e-4
    assert got.low <= truth <= got.high


@pytest.mark.parametrize(
    ("points", "value"), [([], 0.0), ([[1, 0]], 0.0), ([[2, 3]], 6.0), ([[2, 3], [1, 1], [2, 3]], 6.0)]
)
def test_exact_where_one_box_is_left(points, value):
    got = approximate_hypervolume(points, [0, 0])
    assert (got.value, got.low, got.high, got.samples, got.reached) == (value, value, value, 0, True)


def test_units_and_shift_change_nothing():
    points = np.random.default_rng(0).random((20, 12))
    plain = approximate_hypervolume(points, np.zeros(12))
    small = approximate_hypervolume(1e-20 * points, np.zeros(12))
    assert small.value == pytest.approx(1e-240 * plain.value, rel=1e-9)
    moved = approximate_hypervolume(points + 5, np.full(12, 5.0))
    assert moved.value == pytest.approx(plain.value, rel=1e-9)


@pytest.mark.parametrize("block", [7, 64, 2048])
def test_counts_the_boxes_around_a_sample(block):
    generator = np.random.default_rng(block)
    extents, samples = generator.integers(1, 6, (150, 3)) / 4, generator.integers(0, 6, (500, 3)) / 4
    tables = [approximate._Containing(extents[i : i + block]) for i in range(0, 150, block)]
    expected = (extents[None] >= samples[:, None]).all(axis=2).sum(axis=1)
    assert np.sum([table.count(samples) for table in tables], axis=0).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relative_error": 0.0}, "relative_error must lie between 0 and 1, found 0.0"),
        ({"relative_error": 1.0}, "relative_error must lie between 0 and 1"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1"),
        ({"confidence": float("nan")}, "confidence must lie between 0 and 1"),
        ({"max_samples": 10}, "max_samples must be a whole number of at least 2048, found 10"),
        ({"max_samples": 1e5}, "max_samples must be a whole number of at least 2048, found 100000.0"),
    ],
)
def test_refuses_settings(settings, message):
    with pytest.raises(InputError, match=message):
        approximate_hypervolume([[1, 2]], [0, 0], **settings)


def test_a_count_may_be_of_any_integer_type():
    assert approximate_hypervolume([[1, 2], [2, 1]], [0, 0], max_samples=np.int64(4096)).value > 0


@pytest.mark.parametrize(("scale", "how"), [(1e30, "large"), (1e-30, "small")])
def test_refuses_what_no_float_holds(scale, how):
    points = np.random.default_rng(0).random((20, 12)) * scale
    with pytest.raises(InputError, match=f"the volume is too {how} for a float: divide the objectives by their scales"):
        approximate_hypervolume(points, np.zeros(12))


def test_a_sum_of_volumes_that_no_float_holds():
    # Each of e^699: 20 together are above e^700, and above no float.
    points = np.full((20, 2), np.exp(349.5)) * np.exp(np.linspace(-1, 1, 20)[:, None] * [1, -1])
    assert approximate_hypervolume(points[:1], [0, 0]).value == pytest.approx(np.exp(699), rel=1e-9)
    with pytest.raises(InputError, match="too large"):
        approximate_hypervolume(points, [0, 0])


def test_refuses_points():
    with pytest.raises(InputError, match="row 0 of the points is not finite"):
        approximate_hypervolume([[np.inf, 2]], [0, 0])
    with pytest.raises(InputError, match="must have 3 columns, found 2"):
        approximate_hypervolume([[1, 2]], [0, 0, 0])
