import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from frontier.errors import InputError
from reward_heads.calibrate import Isotonic, fit_isotonic, fit_line
from reward_heads.calibrate.isotonic import collapsed


def rated(n=200, seed=0):
    rng = np.random.default_rng(seed)
    s = rng.normal(size=n)
    return s, 3 + np.tanh(2 * s) + rng.normal(0, 0.4, n)


def test_hand_computed():
    # Ratings 1, 3, 2 rise only after the last two are pooled to 2.5.
    found = fit_isotonic([0.0, 1.0, 2.0], [1.0, 3.0, 2.0], strictness=0.0)
    assert found(np.array([0.0, 0.5, 1.0, 2.0])).tolist() == [1.0, 1.75, 2.5, 2.5]
    # Beyond the data with the slope of the least-squares line, 1/2.
    assert found(np.array([-1.0, 4.0])).tolist() == [0.5, 3.5]


def test_agrees_with_scikit_learn_inside_the_data():
    s, y = rated()
    ours = fit_isotonic(s, y, strictness=0.0)
    np.testing.assert_allclose(ours(s), IsotonicRegression().fit_transform(s, y), atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0.01, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_strict_map_keeps_the_ranking(seed, strictness):
    s, y = rated(60, seed)
    a_map = fit_isotonic(s, y, strictness=strictness)
    grid = np.sort(np.concatenate([s, [-100.0, 100.0], np.linspace(-4, 4, 50)]))
    grid = grid[np.diff(grid, prepend=-np.inf) > 1e-6]
    assert (np.diff(a_map(grid)) > 0).all()


def test_says_what_collapses():
    s, y = rated(500)
    steps, strict = fit_isotonic(s, y, strictness=0.0), fit_isotonic(s, y)
    assert collapsed(s, steps(s)) > 300
    assert collapsed(s, strict(s)) <= 3
    assert ((strict(s) - y) ** 2).mean() < 1.05 * ((steps(s) - y) ** 2).mean()


def test_fits_a_curve_better_than_a_line():
    s, y = rated(1000)
    t, z = rated(1000, seed=1)
    curve, line = fit_isotonic(s, y), fit_line(s, y)
    assert ((curve(t) - z) ** 2).mean() < 0.85 * ((line(t) - z) ** 2).mean()


def test_missing_values_stay_missing_and_do_not_count():
    nan = math.nan
    found = fit_isotonic([0.0, 1.0, nan, 5.0], [1.0, 2.0, 9.0, nan])
    assert found == fit_isotonic([0.0, 1.0], [1.0, 2.0])
    assert np.isnan(found(np.array([nan]))).all()


def test_json_is_exact():
    found = fit_isotonic(*rated())
    again = json.loads(json.dumps(found.to_json()))
    assert Isotonic.from_fields(again) == found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_isotonic([0.0, 1.0], [2.0, 1.0], objective="kind"), "'kind' goes against its ratings"),
        (lambda: fit_isotonic([1.0, 1.0], [2.0, 1.0]), "without two different scores"),
        (lambda: fit_isotonic([0.0, 1.0], [1.0, 2.0], strictness=2), r"strictness must be in \[0, 1\]"),
        (lambda: Isotonic((0.0, 0.0), (1.0, 2.0), 1.0), "scores must increase"),
        (lambda: Isotonic((0.0, 1.0), (1.0, 2.0), 0.0), "slope must be positive"),
        (lambda: Isotonic((0.0,), (), 1.0), "one value for each score"),
        (lambda: Isotonic((math.nan,), (1.0,), 1.0), "finite"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
