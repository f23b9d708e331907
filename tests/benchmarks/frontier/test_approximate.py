import numpy as np
import pytest

from benchmarks.frontier import approximate
from benchmarks.frontier.context import Context
from frontier import hypervolume


def test_a_quick_run_covers_the_truth(tmp_path):
    (row,) = approximate.rows(Context(tmp_path, quick=True))
    assert row.id == "hv.approx.coverage"
    assert row.value >= 0.95
    assert row.interval[0] <= row.value <= row.interval[1]


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_the_truth(seed):
    points, truth = approximate._problem(approximate.CORNERS, 0, 4, seed)
    assert truth == pytest.approx(hypervolume(points, np.zeros(4)), rel=1e-12)


def test_a_bound_that_lies_is_found_out(tmp_path, monkeypatch):
    from dataclasses import replace

    real = approximate.approximate_hypervolume

    def shifted(*args, **settings):
        found = real(*args, **settings)
        return replace(found, value=1.2 * found.value, low=1.2 * found.low, high=1.2 * found.high)

    monkeypatch.setattr(approximate, "approximate_hypervolume", shifted)
    (row,) = approximate.rows(Context(tmp_path, quick=True))
    assert row.holds is False


def test_the_front_is_drawn_from_other_numbers_than_the_samples():
    points, _ = approximate._problem("cloud", 5, 4, 3)
    same = np.random.default_rng(3).random((5, 4))
    assert not np.isin(points, same).any()
