import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.calibrate import fit_platt


def test_agrees_with_scipy_on_soft_flags():
    rng = np.random.default_rng(0)
    s = rng.normal(5, 3, 80)
    y = np.clip(expit(s - 4) + rng.normal(0, 0.1, 80), 0, 1)
    up, down = y.sum(), (1 - y).sum()
    t = y * (up + 1) / (up + 2) + (1 - y) / (down + 2)
    best = minimize(lambda x: (np.logaddexp(0, x[0] * s + x[1]) - t * (x[0] * s + x[1])).sum(), [1.0, 0.0], tol=1e-12)
    assert fit_platt(s, y) == pytest.approx(tuple(best.x), rel=1e-3)


def test_recovers_a_planted_boundary():
    rng = np.random.default_rng(1)
    s = rng.normal(size=5000)
    slope, offset = fit_platt(s, (rng.random(5000) < expit(2 * s - 1)).astype(float))
    assert slope == pytest.approx(2, abs=0.25)
    assert -offset / slope == pytest.approx(0.5, abs=0.08)


def test_is_finite_where_flags_follow_without_exception():
    slope, offset = fit_platt([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1])
    assert 0 < slope < 10
    assert offset == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("scores", "flags", "message"),
    [
        ([1.0, 2.0], [1, 1], "all 2 flags are 1"),
        ([1.0, 1.0], [1, 0], "all 2 scores are 1"),
        ([1.0, 2.0, 3.0], [1, 1, 0], "goes against its flags"),
        ([1.0, 2.0], [1, 2], r"in \[0, 1\], found 2"),
    ],
)
def test_refusals(scores, flags, message):
    with pytest.raises(InputError, match=message):
        fit_platt(scores, flags)
