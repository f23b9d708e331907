import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads.calibrate import interval_coverage


def test_hand_computed():
    found = interval_coverage([0, 0, 0, 0], [1, 1, 1, 1], [0.1, -0.5, 1.0, 3.0], levels=(0.5, 0.95))
    assert [share.value for share in found.observed] == [0.5, 0.75]  # ±0.674 holds two, ±1.96 three
    assert found.factor == pytest.approx(np.sqrt((0.01 + 0.25 + 1 + 9) / 4))
    assert found.error == pytest.approx(0.1)


def test_right_and_half_as_wide_as_they_should_be():
    rng = np.random.default_rng(0)
    mean, s = rng.normal(size=4000), rng.uniform(0.5, 2, 4000)
    y = mean + s * rng.normal(size=4000)
    right, narrow = interval_coverage(mean, s, y), interval_coverage(mean, s / 2, y)
    assert all(share.low <= level <= share.high for share, level in zip(right.observed, right.levels, strict=True))
    assert narrow.factor == pytest.approx(2, rel=0.05)
    assert narrow.observed[2].value == pytest.approx(0.589, abs=0.03)  # P(|z| < 1.645 / 2)
    assert "observed" in str(narrow)


def test_refusals():
    with pytest.raises(InputError, match="standard deviations must be positive, found 0"):
        interval_coverage([1.0], [0.0], [1.0])
    with pytest.raises(InputError, match="no row has a rating"):
        interval_coverage([1.0], [np.nan], [1.0])
