from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.frontier.coverage import (
    CERTIFICATES,
    COMPARISONS,
    KNOWN,
    ORACLE,
    _coverage,
    _false_pass,
    _false_verdict,
    _just_below,
    _known,
    _lattice,
    _lifted,
    cover,
    false_passes,
    false_verdicts,
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


def test_the_worst_rule_of_the_worst_case_decides_all_of_the_row():
    figures = ({"passed": 30, "t": 50, "holm": 20, "trials": 1000}, {"passed": 3, "t": 4, "holm": 8, "trials": 100})
    results = [Result(Job(false_passes, CERTIFICATES[i], 1.0), f) for i, f in zip((0, 16), figures, strict=True)]
    row = _false_pass(results)
    assert row.value == 0.08
    assert row.interval == list(wilson(8, 100))
    case = CERTIFICATES[16]
    assert row.what.startswith("share of 100 trials")
    assert f"{case['rewards']} rewards, {case['prompts']} prompts, best of {case['among']}, Holm" in row.what


def test_holm_is_not_the_union_bound_again():
    """With half of the points lifted Holm tests the others at a larger share of delta, so its count may differ."""
    found = false_passes("negative exponential", 30, 21, trials=100, seed=3)
    assert found["holm"] != found["passed"]
    alone = false_passes("negative exponential", 30, 1, trials=100, seed=3)
    assert alone["holm"] == alone["passed"]


@pytest.mark.parametrize("rewards", ["normal", "beta", "rare failures"])
def test_lifted_points_are_good(rewards):
    table, minimum = _just_below(rewards, np.random.default_rng(0), 1, 100_000, shared=False)
    assert table.mean() == pytest.approx(minimum, abs=0.02)
    assert _lifted(rewards, table).mean() > minimum + 0.03
    if rewards != "normal":
        assert 0 <= _lifted(rewards, table).min() <= _lifted(rewards, table).max() <= 1


def test_false_verdicts_take_the_worst_case():
    results = [
        Result(Job(false_verdicts, COMPARISONS[i], 1.0), {"wrong": w, "trials": 1000}) for i, w in ((0, 8), (1, 70))
    ]
    row = _false_verdict(results)
    assert (row.id, row.value, row.holds) == ("compare.false_verdict", 0.07, False)
    assert row.bar == "<= 0.0638"  # 0.05 + 2 sqrt(0.05 0.95 / 1000)
    assert "0.98 right, 60 prompts" in row.what
    assert _false_verdict(results[:1]).holds
    assert _false_verdict([Result(Job(false_verdicts, COMPARISONS[0], 1.0), error="boom")]).holds is False


def test_false_verdicts_are_counted():
    found = false_verdicts(right=0.97, prompts=30, trials=20, seed=0)
    assert found["trials"] == 20
    assert found["wrong"] <= 3
