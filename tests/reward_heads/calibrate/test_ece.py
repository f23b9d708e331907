"""Calibration error against hand computation, scikit-learn, and data whose calibration is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve

from frontier.errors import InputError
from reward_heads.calibrate import binary_calibration_error, pair_calibration_error, rating_calibration_error
from reward_heads.calibrate.ece import bin_edges, debiased_error, probability_error
from reward_heads.diagnose import Resampling

QUICK = Resampling(resamples=100)


def simulated_pairs(n, temperature, seed):
    rng = np.random.default_rng(seed)
    d = rng.normal(0, 1.5, n)
    return d, (rng.random(n) < expit(d / temperature)).astype(float)


def true_error(temperature, bins=10):
    """The binned error with labels replaced by their probabilities."""
    d = np.random.default_rng(99).normal(0, 1.5, 200_000)
    return pair_calibration_error(d, expit(d / temperature), bins=bins, how=Resampling(resamples=0)).ece


def test_hand_computed():
    # Two bins of two: said 0.6, was 1/2; said 0.9, was 1: (0.1 + 0.1) / 2.
    found = pair_calibration_error(logit([0.6, 0.6, 0.9, 0.9]), [1, 0, 1, 1], bins=2, how=QUICK)
    assert found.ece == pytest.approx(0.1)
    assert [b.n for b in found.bins] == [2, 2]
    assert [b.predicted for b in found.bins] == pytest.approx([0.6, 0.9])
    assert [b.observed for b in found.bins] == [0.5, 1.0]
    assert found.brier.score == pytest.approx((0.4**2 + 0.6**2 + 0.1**2 + 0.1**2) / 4)
    assert found.log_loss.score == pytest.approx(-(math.log(0.6) + math.log(0.4) + 2 * math.log(0.9)) / 4)


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_bins_agree_with_scikit_learn(binning, strategy):
    rng = np.random.default_rng(0)
    p = rng.random(2000) ** 2
    y = (rng.random(2000) < p).astype(float)
    observed, predicted = calibration_curve(y, p, n_bins=8, strategy=strategy)
    found = binary_calibration_error(p, y, bins=8, binning=binning, how=QUICK)
    assert [b.observed for b in found.bins] == pytest.approx(observed, abs=0.01)
    assert [b.predicted for b in found.bins] == pytest.approx(predicted, abs=0.01)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_swapping_a_and_b_changes_nothing(rows):
    d, y = (np.array([row[i] for row in rows]) for i in range(2))
    turn = np.array([row[2] for row in rows])
    one = pair_calibration_error(d, y, bins=4, how=QUICK)
    other = pair_calibration_error(np.where(turn, -d, d), np.where(turn, 1 - y, y), bins=4, how=QUICK)
    assert other.ece == pytest.approx(one.ece, abs=1e-9)
    assert other.debiased.value == pytest.approx(one.debiased.value, abs=1e-9)
    for part in ("brier", "log_loss"):
        assert getattr(other, part).score == pytest.approx(getattr(one, part).score, abs=1e-9)
        assert getattr(other, part).miscalibration == pytest.approx(getattr(one, part).miscalibration, abs=1e-9)


def test_of_both_orders_together_is_the_same():
    d, y = simulated_pairs(500, 1.5, 0)
    one = pair_calibration_error(d, y, how=QUICK)
    p = expit(d)
    both = binary_calibration_error(np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y]), bins=20, how=QUICK)
    assert both.ece == pytest.approx(one.ece, abs=0.003)  # bins can differ by a row at their edges


def test_the_plug_in_is_biased_and_the_debiased_is_not():
    runs = [
        pair_calibration_error(*simulated_pairs(300, 1.0, seed), how=Resampling(resamples=0)) for seed in range(200)
    ]
    assert np.mean([run.ece for run in runs]) > 0.05  # perfectly calibrated, and yet
    assert (
        np.mean([run.debiased.value for run in runs]) < 0.012
    )  # what is left comes from cutting negative values off at 0
    assert np.mean([run.rms for run in runs]) < 0.03


def test_the_debiased_error_is_zero_on_average_under_no_gap_and_right_where_the_gap_is_clear():
    rng = np.random.default_rng(0)
    s, w = np.full(10, 0.05), np.full(10, 0.1)
    noise = rng.normal(0, 0.05, (20_000, 10))
    assert abs(debiased_error(noise, s, w).mean()) < 3 * debiased_error(noise, s, w).std() / 20_000**0.5
    assert np.abs(noise).mean() == pytest.approx(0.05 * math.sqrt(2 / math.pi), rel=0.01)  # what the plug-in reads
    gap = np.linspace(0.3, 0.5, 10)
    assert debiased_error(gap + noise, s, w).mean() == pytest.approx(gap.mean(), abs=1e-3)
    assert debiased_error(-gap - noise, s, w).mean() == pytest.approx(gap.mean(), abs=1e-3)


@pytest.mark.parametrize("temperature", [1.3, 2.0, 0.6])
def test_recovers_a_planted_error_within_its_interval(temperature):
    truth = true_error(temperature)
    runs = [pair_calibration_error(*simulated_pairs(800, temperature, seed), how=QUICK) for seed in range(40)]
    assert np.mean([run.debiased.value for run in runs]) == pytest.approx(truth, abs=0.008)
    assert sum(run.debiased.low <= truth <= run.debiased.high for run in runs) >= 33


def test_clusters_widen_intervals():
    d, y = simulated_pairs(100, 1.3, 0)
    copies = np.repeat(np.arange(100), 10)
    apart = pair_calibration_error(np.repeat(d, 10), np.repeat(y, 10), how=QUICK)
    together = pair_calibration_error(np.repeat(d, 10), np.repeat(y, 10), copies, how=QUICK)
    alone = pair_calibration_error(d, y, how=QUICK)
    assert together.ece == pytest.approx(apart.ece)
    assert (together.n, together.clusters, apart.clusters) == (1000, 100, 1000)
    widths = [run.bins[3].interval[1] - run.bins[3].interval[0] for run in (apart, together, alone)]
    assert widths[1] > 2 * widths[0]
    assert widths[1] == pytest.approx(widths[2], rel=0.25)
    assert together.debiased.value == pytest.approx(alone.debiased.value, abs=0.01)


def test_ratings_in_standard_deviations():
    # Said 1 and 3, were 2 and 4 on average: a gap of 1, with ratings of standard deviation √1.5.
    found = rating_calibration_error([1, 1, 3, 3], [1.5, 2.5, 3.5, 4.5], bins=2, how=QUICK)
    assert found.unit == pytest.approx(np.std([1.5, 2.5, 3.5, 4.5]))
    assert found.ece == pytest.approx(1 / found.unit)
    assert found.brier is None
    rng = np.random.default_rng(0)
    s = rng.normal(3, 1, 2000)
    assert rating_calibration_error(s, s + rng.normal(0, 1, 2000), how=QUICK).debiased.value < 0.02


def test_ties_missing_values_and_tensors():
    nan = math.nan
    found = pair_calibration_error(torch.tensor([1.0, 0.0, nan, 2.0]), torch.tensor([1.0, 0.0, 1.0, nan]), how=QUICK)
    assert found.n == 2
    # At Δ = 0 nothing was predicted: only the first pair can be wrong.
    assert found.ece == pytest.approx((1 - expit(1.0)) / 2)


def test_equal_predictions_share_a_bin():
    edges = bin_edges(np.array([0.1] * 9 + [0.9]), 5, "mass", (0, 1))
    assert edges.tolist() == [0.1, 0.9] or edges.tolist() == [0.1, 0.9, 0.9]
    assert pair_calibration_error([2.0] * 10, [1.0] * 10, how=QUICK).bins[0].n == 10


def test_report():
    found = pair_calibration_error(*simulated_pairs(200, 1.0, 0), objective="kind", how=QUICK)
    assert found.to_json()["debiased"]["high"] >= found.to_json()["debiased"]["value"]
    assert "kind (pairs)" in str(found)
    assert "refinement" in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_calibration_error([1.0], [1.0, 0.0]), r"labels must be \[1\]"),
        (lambda: pair_calibration_error([1.0], [1.5]), r"labels must be in \[0, 1\], found 1.5"),
        (lambda: binary_calibration_error([1.5], [1.0]), "probabilities must be"),
        (lambda: pair_calibration_error([1.0], [math.nan], objective="kind"), "'kind': no row has both"),
        (lambda: pair_calibration_error([math.inf], [1.0]), "must be finite"),
        (lambda: pair_calibration_error([1.0], [1.0], bins=0), "bins must be at least 1"),
        (lambda: pair_calibration_error([1.0], [1.0], binning="masss"), "did you mean 'mass'"),
        (lambda: pair_calibration_error([1.0], [1.0], [0, 1]), "one cluster per row"),
        (lambda: rating_calibration_error([1.0, 2.0], [3.0, 3.0]), "all 2 ratings are 3"),
        (lambda: Resampling(level=95), "level must be between 0 and 1"),
        (lambda: Resampling(resamples=-1), "resamples must not be negative"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_equal_sizes_share_a_bin_whichever_order_they_are_given_in():
    d, y = np.full(200, 2.0), (np.arange(200) % 2 == 0).astype(float)
    turn = np.arange(200) % 4 < 2
    for swapped in (np.zeros(200, dtype=bool), turn, y == 1):
        found = pair_calibration_error(np.where(swapped, -d, d), np.where(swapped, 1 - y, y), how=QUICK)
        assert found.ece == pytest.approx(expit(2) - 0.5)  # half of those given σ(2) were preferred
        assert len(found.bins) == 1


def test_probabilities_of_the_two_orders_share_a_bin():
    p, y = np.full(200, expit(2.0)), (np.arange(200) % 2 == 0).astype(float)
    swapped = y == 1
    settings = {"objective": "", "bins": 10, "binning": "mass", "how": QUICK, "pairs": True}
    found = probability_error(np.where(swapped, expit(-2.0), p), np.where(swapped, 1 - y, y), None, **settings)
    assert found.ece == pytest.approx(expit(2) - 0.5)


def test_rounding_is_for_bins_alone():
    found = pair_calibration_error([40.0, -40.0], [1.0, 1.0], how=QUICK)
    assert math.isfinite(pair_calibration_error([30.0], [0.0], how=QUICK).log_loss.score)
    assert found.bins[0].predicted == pytest.approx(1.0)


def test_a_label_out_of_range_is_named_as_it_was_given():
    with pytest.raises(InputError, match=r"labels must be in \[0, 1\], found 1.2"):
        pair_calibration_error([-1.0], [1.2])
