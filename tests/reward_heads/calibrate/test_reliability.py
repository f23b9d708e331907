import struct

import numpy as np
import pytest
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.calibrate import pair_calibration_error, plot_reliability, rating_calibration_error
from reward_heads.calibrate.reliability import _limits
from reward_heads.diagnose import Resampling

QUICK = Resampling(resamples=20)


def errors():
    rng = np.random.default_rng(0)
    d = rng.normal(0, 2, 300)
    pairs = pair_calibration_error(d, (rng.random(300) < expit(d / 2)).astype(float), objective="kind", how=QUICK)
    return [pairs, rating_calibration_error(d, d + rng.normal(size=300), objective="brief", how=QUICK)]


def size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def test_one_panel_per_head(tmp_path):
    found = errors()
    one = size(plot_reliability(found[:1], tmp_path / "new" / "one.png", dpi=50))
    two = size(plot_reliability(found, tmp_path / "two.png", before=found, title="Held-out rows", dpi=50))
    six = size(plot_reliability(found * 3, tmp_path / "six.png", dpi=50))
    assert two[0] > 1.8 * one[0]
    assert six[1] > 1.8 * one[1]


def test_every_interval_is_inside_its_panel():
    for error in errors():
        low, high = _limits(error, None)
        assert all(low <= end <= high for b in error.bins for end in (*b.interval, b.predicted))


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="at least one calibration error"):
        plot_reliability([], tmp_path / "none.png")
    with pytest.raises(InputError, match="as many entries"):
        plot_reliability(errors(), tmp_path / "none.png", before=errors()[:1])


def test_names_are_no_formulas(tmp_path):
    rng = np.random.default_rng(0)
    d = rng.normal(size=50)
    found = pair_calibration_error(d, (d > 0).astype(float), objective="a$b^$", how=QUICK)
    size(plot_reliability([found], tmp_path / "odd.png", title="$\\x$", dpi=50))
