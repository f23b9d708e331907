from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.frontier.coverage import (
    CERTIFICATES,
    KNOWN,
    ORACLE,
    _coverage,
    _false_pass,
    _known,
    _lattice,
    cover,
    false_passes,
    standardised,
    wilson,
)
from benchmarks.jobs import Job, Result


def test_wilson_agrees_with_scipy():
    theirs = binomtest(475, 500).proportion_ci(method="wilson")
    assert wilson(475, 500) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


@pytest.mark.parametrize("name", ["normal", "exponential", "negative exponential", "negative gamma", "log-normal"])
def test_rewards_are_standardised(name):
    values = standardised(name, np.random.default_rng(0), (400_000,))
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", KNOWN, ids=str)
def test_drawn_rewards_have_the_stated_means(kind):
    draw, means, _ = _known(kind)
    found = np.mean([draw(np.random.default_rng(seed)).mean(axis=1) for seed in range(200)], axis=0)
    assert np.abs(found - means).max() < 6 * kind.noise / np.sqrt(200 * kind.prompts)


def test_every_oracle_front_has_a_lattice_of_its_size():
    for kind in ORACLE:
        weights = _lattice(kind.points, int(kind.rewards))
        assert weights.shape == (kind.points, int(kind.rewards))
        assert np.allclose(weights.sum(axis=1), 1)


def test_cover_counts_every_trial_once_per_figure():
    found = cover(asdict(KNOWN[3]), trials=4, seed=0)
    assert {name: sum(counts) for name, counts in found.items()} == {"hv": 4, "eum": 4, "mip": 4}


def test_rows_pool_the_oracle_apart_from_the_rest():
    jobs = [Job(cover, {"fronts": asdict(kind)}, 1.0) for kind in (ORACLE[0], KNOWN[0])]
    results = [Result(jobs[0], {"hv": [10, 470, 20]}), Result(jobs[1], {"hv": [90, 410, 0]})]
    oracle, hard = (_coverage("hv", where, results) for where in ("oracle", "hard"))
    assert (oracle.id, oracle.value, oracle.holds) == ("bootstrap.hv.coverage", 0.94, True)
    assert (hard.id, hard.value, hard.holds) == ("bootstrap.hv.coverage.hard", 0.82, False)


def test_a_broken_simulation_does_not_hold():
    job = Job(cover, {"fronts": asdict(ORACLE[0])}, 1.0)
    assert _coverage("hv", "oracle", [Result(job, error="boom")]).holds is False


def test_certificates_take_the_worst_case():
    results = [
        Result(Job(false_passes, CERTIFICATES[i], 1.0), {"passed": p, "t": 50, "holm": p, "trials": 1000})
        for i, p in ((0, 30), (1, 51))
    ]
    row = _false_pass(results)
    assert (row.value, row.holds, row.peer_value) == (0.051, False, 0.05)


def test_a_clear_case_of_false_passes():
    found = false_passes("rare failures", 30, 1, trials=50, seed=0)
    assert found["passed"] == 0
    assert found["trials"] == 50
