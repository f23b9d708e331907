import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from frontier.errors import InputError
from reward_heads.calibrate import PairCalibrator, fit_pair_calibrator, probability_error
from reward_heads.diagnose import Resampling


def pairs(n, seed, truth=lambda d: 0.5 + 0.4 * np.tanh(d)):
    rng = np.random.default_rng(seed)
    d = rng.normal(size=n)
    return d, (rng.random(n) < truth(d)).astype(float)


def test_hand_computed():
    # Sizes 1 and 2, won 3/4 and 2/4: pooled to 5/8 at both.
    found = fit_pair_calibrator([1, -1, 1, 1, 2, 2, 2, -2], [1, 0, 1, 0, 1, 0, 1, 1], strictness=0.0)
    assert found([1.0, 2.0, 9.0, -1.0, 0.0, 0.5]) == pytest.approx([0.625, 0.625, 0.625, 0.375, 0.5, 0.5625])


@given(st.integers(0, 10_000), st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_both_orders_add_up_to_one_and_more_difference_is_never_less(seed, differences, strictness):
    found = fit_pair_calibrator(*pairs(80, seed), strictness=strictness)
    d = np.sort(np.array(differences))
    assert found(d) + found(-d) == pytest.approx(np.ones(len(d)))
    assert (np.diff(found(d)) >= -1e-12).all()
    assert ((found(d) >= 0) & (found(d) <= 1)).all()


def test_is_the_isotonic_fit_to_both_orders():
    d, y = pairs(300, 0)
    ours = fit_pair_calibrator(d, y, strictness=0.0)
    both = IsotonicRegression().fit(np.concatenate([d, -d]), np.concatenate([y, 1 - y]))
    np.testing.assert_allclose(ours(d), both.predict(d), atol=1e-9)


def test_beats_a_temperature_where_the_curve_is_not_logistic():
    d, y = pairs(4000, 0, lambda d: 0.5 + 0.2 * np.sign(d))  # right in 70 % of pairs, whatever the difference
    e, z = pairs(4000, 1, lambda d: 0.5 + 0.2 * np.sign(d))
    found = fit_pair_calibrator(d, y)
    settings_ = {"objective": "", "bins": 10, "binning": "mass", "how": Resampling(resamples=0), "pairs": True}
    isotonic = probability_error(found(e), z, None, **settings_)
    logistic = probability_error(expit(e / found.temperature), z, None, **settings_)
    assert isotonic.log_loss.score < logistic.log_loss.score
    assert isotonic.debiased.value < 0.5 * logistic.debiased.value


def test_never_certain_and_exact_in_json():
    found = fit_pair_calibrator([1.0, 2.0, 3.0, 0.5, 0.5], [1, 1, 1, 1, 0])
    assert found([3.0])[0] < 1
    assert PairCalibrator.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert np.isnan(found([math.nan])).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": [0.0, 1.0], "p": [0.4, 0.6], "temperature": 1.0, "strictness": 0.0}, "begin at 0 and 0.5"),
        ({"x": [0.0, 1.0], "p": [0.5, 0.4], "temperature": 1.0, "strictness": 0.0}, "p must not decrease"),
        ({"x": [0.0], "p": [0.5], "temperature": -1.0, "strictness": 0.0}, "temperature positive"),
        ({"x": [0.0], "p": [0.5], "temperature": 1.0, "strictness": 2.0}, "strictness must be"),
        ({"x": [0.0], "p": [0.5], "temperature": 1.0}, "field 'strictness' is missing"),
        ({"x": [0.0], "q": [0.5]}, "unknown field of a pair calibrator 'q'"),
    ],
)
def test_refusals(fields, message):
    with pytest.raises(InputError, match=message):
        PairCalibrator.from_json(fields)
