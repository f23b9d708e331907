import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss

from frontier.errors import InputError
from reward_heads.calibrate import decompose


def test_hand_computed():
    # Said 0.8 of all, true of half: a constant 0.5 is the best map and the base rate.
    found = decompose(np.full(4, 0.8), np.array([1.0, 0, 1, 0]))
    assert found.score == pytest.approx((0.04 + 0.64) / 2)
    assert found.miscalibration == pytest.approx(0.34 - 0.25)
    assert (found.discrimination, found.uncertainty, found.refinement) == pytest.approx((0, 0.25, 0.25))


@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0, 1)), min_size=2, max_size=30),
    st.sampled_from(["brier", "log"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_parts_add_up_and_none_is_negative(rows, score, pairs):
    p, y = (np.array(column) for column in zip(*rows, strict=True))
    found = decompose(p, y, score, pairs=pairs)
    assert found.miscalibration + found.uncertainty - found.discrimination == pytest.approx(found.score, abs=1e-9)
    assert min(found.miscalibration, found.discrimination, found.uncertainty) >= -1e-9


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    p = rng.random(300)
    y = (rng.random(300) < p).astype(float)
    assert decompose(p, y).score == pytest.approx(brier_score_loss(y, p))
    assert decompose(p, y, "log").score == pytest.approx(log_loss(y, p))


def test_pairs_know_nothing_beforehand():
    rng = np.random.default_rng(0)
    d = np.abs(rng.normal(size=200))
    y = (rng.random(200) < expit(d)).astype(float)
    assert decompose(expit(d), y, "log", pairs=True).uncertainty == pytest.approx(math.log(2))
    assert decompose(expit(d), y, "brier", pairs=True).uncertainty == pytest.approx(0.25)


def test_refuses_an_unknown_score():
    with pytest.raises(InputError, match="did you mean 'brier'"):
        decompose(np.array([0.5]), np.array([1.0]), "brierr")
