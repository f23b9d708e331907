import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.diagnose import Resampling, label_noise, noise_report
from reward_heads.diagnose.noise import log_likelihood


def draw(n, rate, seed, spread=3.0, scale=1.0):
    rng = np.random.default_rng(seed)
    d = rng.normal(0, spread, n)
    y = rng.random(n) < expit(scale * d)
    return d, (y ^ (rng.random(n) < rate)).astype(float)


def test_hand_computed():
    # A head that is certain: P = 1 − ε, and 3 of 4 labels follow it.
    found = label_noise([50.0, 50.0, -50.0, 50.0], [1, 1, 0, 0], fit_scale=False)
    assert found.rate.value == pytest.approx(0.25, abs=1e-4)
    # Profile: 3 log(1 − ε) + log ε falls by 1.92 from its maximum.
    best = 3 * math.log(0.75) + math.log(0.25)
    assert 3 * math.log(1 - found.rate.low) + math.log(found.rate.low) == pytest.approx(best - 1.9207, abs=0.01)


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_em_finds_the_maximum(seed):
    d, y = draw(400, 0.15, seed)
    found = label_noise(d, y)
    best = min(
        (
            minimize(lambda x: -log_likelihood(x[0], x[1] * d, y), start, bounds=[(0, 0.499), (1e-3, 50)])
            for start in ([0.1, 1], [0.3, 2])
        ),
        key=lambda r: r.fun,
    )
    assert log_likelihood(found.rate.value, found.scale * d, y) == pytest.approx(-best.fun, abs=2e-3)


@pytest.mark.parametrize(("rate", "scale"), [(0.1, 1.0), (0.25, 2.0)])
def test_the_interval_covers_a_planted_rate(rate, scale):
    found = [label_noise(*draw(1000, rate, seed, scale=scale)) for seed in range(40)]
    assert np.mean([f.rate.value for f in found]) == pytest.approx(rate, abs=0.012)
    assert sum(f.rate.low <= rate <= f.rate.high for f in found) >= 34
    assert np.mean([f.standard_error for f in found]) == pytest.approx(np.std([f.rate.value for f in found]), rel=0.35)
    # Few pairs lie where the curve is steep, so the scale of a single set is skewed to large values.
    assert np.median([f.scale for f in found]) == pytest.approx(scale, rel=0.1)
    assert all(f.identifiable for f in found)


@given(st.integers(0, 1000), st.data())
@settings(max_examples=10, deadline=None)
def test_swapping_a_and_b_changes_nothing(seed, data):
    d, y = draw(60, 0.1, seed)
    turn = np.array(data.draw(st.lists(st.booleans(), min_size=60, max_size=60)))
    one, other = label_noise(d, y), label_noise(np.where(turn, -d, d), np.where(turn, 1 - y, y))
    assert other.rate.value == pytest.approx(one.rate.value, abs=1e-5)


def test_without_confident_pairs_noise_is_not_identified():
    found = label_noise(*draw(400, 0.1, 0, spread=0.3))
    assert not found.identifiable
    assert "smaller scale" in found.warning
    assert found.rate.high - found.rate.low > 0.3


def test_clean_labels_have_no_noise():
    found = label_noise(*draw(2000, 0.0, 0), fit_scale=False)
    assert found.rate.low == 0
    assert found.rate.value < 0.02


def test_clusters_widen_the_standard_error():
    d, y = draw(300, 0.15, 0)
    once = label_noise(d, y)
    copied = label_noise(np.repeat(d, 4), np.repeat(y, 4), np.repeat(np.arange(300), 4))
    assert copied.rate.value == pytest.approx(once.rate.value, abs=1e-3)
    assert copied.standard_error == pytest.approx(once.standard_error, rel=0.02)


def test_finds_the_careless_annotators():
    rng = np.random.default_rng(0)
    users = [f"u{i % 10}" for i in range(2000)]
    rates = np.array([0.4 if user in ("u2", "u5") else 0.05 for user in users])
    d = rng.normal(0, 3, 2000)
    y = ((rng.random(2000) < expit(d)) ^ (rng.random(2000) < rates)).astype(float)
    found = label_noise(d, y, users=users)
    assert {a.user for a in found.annotators[:2]} == {"u2", "u5"}
    inside = [a.rate.low <= (0.4 if a.user in ("u2", "u5") else 0.05) <= a.rate.high for a in found.annotators]
    assert sum(inside) >= 8


def test_rates_are_what_training_takes(world):
    report = noise_report(world(300), how=Resampling(resamples=0))
    assert set(report.rates()) <= {"x", "y"}
    assert all(0 <= rate < 0.5 for rate in report.rates().values())
    assert report.to_json()["objectives"][0]["rate"]["high"] <= 0.5
    assert "flip rate" in str(report)


@pytest.mark.parametrize(
    ("differences", "labels", "message"),
    [
        ([0.0, 1.0], [1.0, math.nan], "'kind': no pair has a label"),
        ([1.0, 2.0], [0.0, 0.0], "oppose the scores"),
        ([1.0, 2.0], [1.0, 3.0], r"in \[0, 1\]"),
    ],
)
def test_refusals(differences, labels, message):
    with pytest.raises(InputError, match=message):
        label_noise(differences, labels, objective="kind")
