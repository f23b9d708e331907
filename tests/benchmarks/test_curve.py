"""The curve of one steerable run beside one model per preference, from hand-made results; and its jobs, as small as they can be."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.jobs import Job, Result
from benchmarks.training import curve, curve_worlds
from benchmarks.training.curve import curves_of, draw, plan, rows_of, updates_to_reach


def result(function, arm, seed, figures, error=None):
    return Result(Job(function, {"arm": arm, "seed": seed}, 1.0), figures, 2.0, error)


def oracle_at(total, gain, updates=None):
    points = [{"gain": gain}] * 11
    return {str(total): {"points": points, "seconds": 3.0, "updates": updates or total}}


def test_the_oracles_quality_is_a_mean_over_preferences_and_seeds():
    results = [
        result(curve_worlds.oracle, "steerable", 0, oracle_at(100, 0.9)),
        result(curve_worlds.oracle, "steerable", 1, oracle_at(100, 0.7)),
        result(curve_worlds.oracle, "separate", 0, oracle_at(100, 0.4, 99) | oracle_at(400, 1.0, 396)),
    ]
    found = curves_of(results)
    assert list(found) == ["oracle"]
    assert found["oracle"]["steerable"][100]["gain"] == pytest.approx(0.8)
    rows = {row.id: row for row in rows_of("oracle", found["oracle"])}
    assert set(rows) == {
        "curve.oracle.gain.steerable.100",
        "curve.oracle.gain.separate.99",
        "curve.oracle.gain.separate.396",
        "curve.oracle.gain.factor",
    }
    assert rows["curve.oracle.gain.steerable.100"].peer_value == pytest.approx(0.4)
    assert "3 s of CPU time" in rows["curve.oracle.gain.steerable.100"].what
    # 0.8 is two thirds of the way from 0.4 to 1, on the scale of logarithms: 99 · 4^(2/3) updates.
    assert rows["curve.oracle.gain.factor"].value == pytest.approx(0.99 * 4 ** (2 / 3))


def test_what_is_never_reached_has_no_factor():
    arms = {"steerable": {100: {"gain": 0.9, "seconds": 1.0}}, "separate": {99: {"gain": 0.2, "seconds": 1.0}}}
    row = rows_of("oracle", arms)[-1]
    assert row.value is None
    assert "not reached with 0.99 times as many (0.2)" in row.what


def test_updates_to_reach():
    assert updates_to_reach(0.5, {100: 0.6, 200: 0.9}) == 100
    assert updates_to_reach(0.5, {200: 1.0, 50: 0.0}) == pytest.approx(100)
    assert updates_to_reach(0.5, {50: 0.1, 100: 0.4}) is None
    assert updates_to_reach(0.4, {50: 0.6, 100: 0.1}) == 50


def test_stories_are_judged_above_one_point_and_by_what_was_asked_for():
    # The preferences run from all weight on the second objective to all on the first.
    shares = np.linspace(0, 1, 11)
    good = [{"rewards": [s, 1 - s], "kl": 0.4} for s in shares]
    wrong = [{"rewards": [1 - s, s], "kl": 0.4} for s in shares]
    results = [
        result(curve_worlds.stories, "steerable", 0, {"8": {"points": good, "seconds": 1.0, "updates": 8}}),
        result(curve_worlds.stories, "separate", 0, {"8": {"points": wrong, "seconds": 1.0, "updates": 8}}),
    ]
    found = curves_of(results)["stories"]
    assert found["steerable"][8]["mip"] == pytest.approx(np.mean(shares**2 + (1 - shares) ** 2) - 0.25 * 0.4, abs=1e-6)
    assert found["separate"][8]["mip"] == pytest.approx(np.mean(2 * shares * (1 - shares)) - 0.1, abs=1e-6)
    # The same set of points: steering shows in MIP, not in the hypervolume.
    assert found["steerable"][8]["hv"] == pytest.approx(found["separate"][8]["hv"])


def test_the_plan_gives_both_ways_the_same_updates(tmp_path):
    jobs = plan(SimpleNamespace(quick=False, data=tmp_path))
    assert [(j.settings["arm"], j.settings["seed"]) for j in jobs] == [(a, s) for a in curve.ARMS for s in range(2)]
    steerable, separate = (next(j for j in jobs if j.settings["arm"] == arm).settings["updates"] for arm in curve.ARMS)
    assert steerable == [50, 100, 200, 400]
    assert separate == [50, 100, 200, 400, 800, 1600]
    (tmp_path / "loaders.py").touch()
    assert len(plan(SimpleNamespace(quick=True, data=tmp_path))) == 4


def test_the_picture(tmp_path):
    arms = {arm: {n: {"gain": n / 100, "seconds": 1.0} for n in (10, 40)} for arm in curve.ARMS}
    draw({"oracle": arms}, tmp_path / "deep" / "curve.png")
    assert (tmp_path / "deep" / "curve.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
@pytest.mark.parametrize("arm", list(curve.ARMS))
def test_both_ways_give_a_point_for_each_preference(arm, monkeypatch):
    monkeypatch.setattr(curve_worlds, "BATCH", {"oracle": 8})
    monkeypatch.setattr(
        curve_worlds.OracleWorld, "covered", lambda **s: curve_worlds.OracleWorld.build(_small(s["objectives"]))
    )
    found = curve_worlds.oracle(arm, 0, [11], 40)["11"]
    assert found["updates"] == 11
    gains = [point["gain"] for point in found["points"]]
    assert len(gains) == 11
    assert all(gain < 1 for gain in gains)


def _small(objectives):
    from moalign.oracle import WorldConfig

    return WorldConfig(vocabulary=3, length=3, prompts=2, hidden=16, layers=1, objectives=objectives)
