import numpy as np
import pytest

from benchmarks.reward_heads.calibration import calibrated
from benchmarks.reward_heads.sets import Comparisons


def draw(rng, documents, each, nats, name):
    """Comparisons within documents whose labels follow the differences times `nats`."""
    difference = rng.normal(size=documents * each)
    label = (rng.random(len(difference)) < 1 / (1 + np.exp(-nats * difference))).astype(float)
    where = [f"{name}{i // each}" for i in range(len(difference))]
    n = len(difference)
    return Comparisons(list(range(n)), list(range(n)), label.tolist(), where, where), difference


def test_the_planted_temperature_is_found():
    rng = np.random.default_rng(0)
    known, known_differences = draw(rng, 100, 10, 2.0, "k")
    test, differences = draw(rng, 100, 10, 2.0, "t")
    np.testing.assert_allclose(calibrated(known, known_differences, test, differences) / differences, 2.0, rtol=0.15)


def test_a_comparison_is_not_calibrated_by_its_own_label():
    rng = np.random.default_rng(1)
    known, known_differences = draw(rng, 20, 5, 1.0, "k")
    test, differences = draw(rng, 20, 5, 1.0, "t")
    turned = [1 - p if d == "t3" else p for p, d in zip(test.label, test.document, strict=True)]
    other = Comparisons(test.a, test.b, turned, test.document, test.other)
    one, two = (calibrated(known, known_differences, t, differences) for t in (test, other))
    own = np.array([d == "t3" for d in test.document])
    np.testing.assert_array_equal(one[own], two[own])
    assert (one != two).any()  # but the others are


@pytest.mark.parametrize("nats", [0.0, -3.0])
def test_a_head_that_knows_nothing_is_sure_of_nothing(nats):
    rng = np.random.default_rng(2)
    known, known_differences = draw(rng, 30, 5, nats, "k")
    test, differences = draw(rng, 30, 5, nats, "t")
    assert np.abs(calibrated(known, known_differences, test, differences)).max() < 0.5
