import logging

import numpy as np
import pytest

from frontier import InputError
from frontier.measure import kernels

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def public_only(monkeypatch):
    """As with a moocore whose C functions have moved."""
    monkeypatch.setattr(kernels, "c_functions", lambda: None)


def test_moocores_c_functions_are_where_and_what_they_were():
    assert kernels.c_functions() is not None, (
        "moocore's C functions have moved or changed (frontier/measure/kernels.py, C_FUNCTIONS). Nothing is wrong yet: its public functions are called "
        "instead, slower for small fronts. Look at moocore/_moocore.py and libmoocore.h and adapt."
    )


def test_a_changed_signature_is_not_called(monkeypatch, caplog):
    monkeypatch.setitem(kernels.C_FUNCTIONS, "fpli_hv", "double(*)(double *, int, int, double *)")
    with caplog.at_level(logging.INFO):
        assert kernels.c_functions.__wrapped__() is None
    assert "public functions" in caplog.text


@pytest.mark.parametrize("m", range(1, 8))
@pytest.mark.parametrize("n", [1, 2, 40, 600])
def test_public_functions_give_the_same(m, n, monkeypatch):
    if m > 4 and n > 40:
        n = 60
    points, place = GENERATOR.normal(size=(n, m)), np.full(m, -1.0)
    volume, keep = kernels.volume(points, place), kernels.keep_first_non_dominated(points)
    several = kernels.volumes(points[None], place) if m <= 4 else None
    monkeypatch.setattr(kernels, "c_functions", lambda: None)
    monkeypatch.setattr(kernels, "pygmo", lambda: None)
    assert kernels.volume(points, place) == pytest.approx(volume, rel=1e-12)
    assert (kernels.keep_first_non_dominated(points) == keep).all()
    if several is not None:
        assert kernels.volumes(points[None], place) == pytest.approx(several, rel=1e-12)
        assert several[0] == pytest.approx(volume, rel=1e-12)


def test_volumes_of_no_fronts_and_of_no_points(public_only):
    assert kernels.volumes(np.zeros((0, 4, 3)), np.zeros(3)).tolist() == []
    assert kernels.volumes(np.zeros((2, 0, 3)), np.zeros(3)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("m", [6, 7, 8])
def test_pagmo_and_moocore_agree(m, monkeypatch):
    pytest.importorskip("pygmo")
    points = np.abs(GENERATOR.normal(size=(30, m)))
    points[3] = -1.0  # pagmo refuses points below the reference: they must not reach it
    monkeypatch.setattr(kernels, "wfg_is_faster", lambda n, m: True)
    monkeypatch.setattr(kernels, "TRIM_FROM", {})
    by_pagmo = kernels.volume(points, np.zeros(m))
    monkeypatch.setattr(kernels, "wfg_is_faster", lambda n, m: False)
    assert by_pagmo == pytest.approx(kernels.volume(points, np.zeros(m)), rel=1e-10)


def test_says_once_that_pygmo_is_missing(monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "pygmo", None)  # importing it fails
    kernels.pygmo.cache_clear()
    points = GENERATOR.random((20, 7))
    try:
        with caplog.at_level(logging.WARNING):
            kernels.volume(points, np.zeros(7))
            kernels.volume(points, np.zeros(7))
    finally:
        kernels.pygmo.cache_clear()
    assert [record.message[:22] for record in caplog.records] == ["pygmo is not installed"]


def test_refuses_more_objectives_than_the_c_code_has_room_for():
    with pytest.raises(InputError, match=r"go to 31 objectives, found 32: use approximate_hypervolume"):
        kernels.volume(np.ones((2, 32)), np.zeros(32))
    assert kernels.volume(np.ones((2, 31)), np.zeros(31)) == 1.0


def test_refuses_more_columns_than_the_filter_has_room_for():
    with pytest.raises(InputError, match="255 objectives at most, found 256"):
        kernels.keep_first_non_dominated(np.ones((2, 256)))
    assert kernels.keep_first_non_dominated(np.ones((2, 255))).tolist() == [True, False]


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_filter_for_many_points_keeps_what_the_plain_one_keeps(m):
    # Few values, so that the point with the largest sum has equals, and many are dominated by it.
    points = GENERATOR.integers(0, 12, (2 * kernels.PREFILTER, m)).astype(float)
    plain = np.concatenate([kernels._moocore_filter(points)])
    assert (kernels.keep_first_non_dominated(points) == plain).all()


def test_points_are_left_as_they_were():
    points = GENERATOR.random((400, 3))
    before = points.copy()
    kernels.volume(points, np.zeros(3))
    kernels.volumes(points[None], np.zeros(3))
    kernels.keep_first_non_dominated(points)
    assert (points == before).all()
