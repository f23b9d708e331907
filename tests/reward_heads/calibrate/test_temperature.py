import math

import numpy as np
import pytest
import torch
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.bradley_terry import scale_of_differences
from reward_heads.calibrate import fit_temperature, pair_calibration_error


def test_hand_computed():
    found = fit_temperature([2.0] * 4, [1, 1, 1, 0])  # σ(2/T) = 3/4
    assert found.temperature == pytest.approx(2 / math.log(3))
    assert found.nats_per_unit == pytest.approx(math.log(3) / 2)
    # Residuals 2 · (1/4, 1/4, 1/4, −3/4), information 4 · 4 · 3/16: se(α) = √3 / 3.
    assert found.standard_error == pytest.approx(math.sqrt(3) / 3 * found.temperature**2)


def test_is_the_bradley_terry_scale_turned_over():
    rng = np.random.default_rng(0)
    d = rng.normal(size=(300, 1))
    y = rng.random((300, 1))
    y = np.where(d > 0, np.maximum(y, 1 - y), np.minimum(y, 1 - y))
    scale = scale_of_differences(torch.from_numpy(d), torch.from_numpy(y)).scale.item()
    assert fit_temperature(d[:, 0], y[:, 0]).temperature == pytest.approx(1 / scale, rel=1e-12)


def test_recovers_a_planted_temperature_within_two_and_a_half_standard_errors():
    rng = np.random.default_rng(1)
    within = 0
    for _ in range(40):
        d = rng.normal(0, 2, 600)
        found = fit_temperature(d, (rng.random(600) < expit(d / 1.7)).astype(float))
        within += abs(found.temperature - 1.7) < 1.96 * found.standard_error
    assert within >= 34


def test_the_standard_error_counts_clusters():
    rng = np.random.default_rng(2)
    d = rng.normal(size=200)
    y = (rng.random(200) < expit(d)).astype(float)
    once = fit_temperature(d, y)
    copied = fit_temperature(np.repeat(d, 9), np.repeat(y, 9), np.repeat(np.arange(200), 9))
    assert copied.temperature == pytest.approx(once.temperature)
    assert copied.standard_error == pytest.approx(once.standard_error)
    assert fit_temperature(np.repeat(d, 9), np.repeat(y, 9)).standard_error == pytest.approx(once.standard_error / 3)


def test_lowers_the_error_of_a_head_that_is_too_sure():
    rng = np.random.default_rng(3)
    d = rng.normal(0, 4, 2000)
    y = (rng.random(2000) < expit(d / 4)).astype(float)
    fitted = fit_temperature(d[:1000], y[:1000])
    assert pair_calibration_error(d[1000:], y[1000:]).ece > 0.15
    assert pair_calibration_error(d[1000:] / fitted.temperature, y[1000:]).debiased.value < 0.03


@pytest.mark.parametrize(
    ("differences", "labels", "message"),
    [
        ([1.0, 2.0], [1, 1], "'kind' is separable"),
        ([1.0, 2.0, 1.0], [0, 0, 1], "'kind' goes against its labels"),
        ([0.0], [1], "none of its 1 labelled pairs has two different scores"),
        ([math.nan], [1], "no pair has both a label and known scores"),
    ],
)
def test_refusals(differences, labels, message):
    with pytest.raises(InputError, match=message):
        fit_temperature(differences, labels, objective="kind")
